"""The service managers of a machine: where their units are, and what they are told through `systemctl`."""

import pwd
import shutil
import subprocess
from pathlib import Path

import click

from beholder.errors import BackendError, ConfigError

__all__ = ["ServiceManager", "make_user"]

# Source: https://www.freedesktop.org/software/systemd/man/latest/sd_booted.html (2026-11)
_BOOTED = Path("/run/systemd/system")


class ServiceManager:
    """The service manager of the machine, or of a user.

    Args:
        is_user: Whether it is the user's.
    """

    def __init__(self, *, is_user: bool) -> None:
        self._scope = ("--user",) if is_user else ()
        self._units = Path(click.get_app_dir("systemd")) / "user" if is_user else Path("/etc/systemd/system")

    def check(self) -> None:
        """Do nothing where systemd runs.

        Raises:
            ConfigError: It does not.
        """
        if not _BOOTED.is_dir() or not shutil.which("systemctl"):
            raise ConfigError(
                "systemd does not run on this machine; start `beholder up` by the service manager that does"
            )

    def unit(self, name: str) -> Path:
        """Return where the unit of this name is, or would be."""
        return self._units / name

    def tell(self, *words: str) -> str:
        """Run `systemctl` and return its output.

        Raises:
            BackendError: It failed, with its own words.
        """
        command = ("systemctl", *self._scope, *words)
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise BackendError("systemd", words[0], " ".join(done.stderr.split()))
        return done.stdout


def make_user(name: str, folder: str) -> None:
    """Make a system user without a shell, unless there is one of this name.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        pwd.getpwnam(name)
    except KeyError:
        options = ("--system", "--user-group", "--no-create-home", "--home-dir", folder)
        command = ("useradd", *options, "--shell", "/usr/sbin/nologin", name)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        except FileNotFoundError as exc:
            raise ConfigError(f"there is no useradd here; make a system user named {name}") from exc
        if done.returncode:
            raise ConfigError(f"the user {name} cannot be made: {done.stderr.strip()}") from None
