"""The systemd unit of `beholder up`: of the machine, with a user of its own, or of a user."""

from collections.abc import Sequence
from importlib import resources

__all__ = ["SERVICE_USER", "STATE_FOLDER", "UNIT", "unit_text"]

UNIT = "beholder.service"
SERVICE_USER = "beholder"
# What `StateDirectory=beholder` of a unit of the machine means.
STATE_FOLDER = "/var/lib/beholder"

_HARDENING_BEGINS = "NoNewPrivileges=yes"
# The other lines need rights, or a mount namespace, that a user's service manager does not have.
_OF_USERS = (
    "NoNewPrivileges",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "LockPersonality",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "SystemCallErrorNumber",
)


def unit_text(command: Sequence[str], *, is_user: bool, stop_s: float) -> str:
    """Return the text of the unit.

    The web process tells that it is ready and that it lives, so a web process that hangs is ended after
    WatchdogSec, with all others, and started anew. Settings that the command does not name come from
    `beholder.env`, in /etc or in the user's configuration folder.

    Args:
        command: What it runs: a program's absolute path, and its arguments.
        is_user: Whether it is for a user's service manager.
        stop_s: After this it is killed, in seconds.

    Source: https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html (2026-11)
    """
    network = () if is_user else ("Wants=network-online.target", "After=network-online.target")
    identity = (
        () if is_user else (f"User={SERVICE_USER}", "StateDirectory=beholder", "StateDirectoryMode=0700")
    )
    lines = (
        "# Written by `beholder service install`, which writes it anew each time.",
        "[Unit]",
        "Description=beholder, image recognition as a service",
        *network,
        "StartLimitIntervalSec=600",
        "StartLimitBurst=10",
        "",
        "[Service]",
        "Type=notify",
        # The main process is the supervisor; the web process notifies.
        "NotifyAccess=all",
        "WatchdogSec=60",
        "TimeoutStartSec=600",
        f"TimeoutStopSec={stop_s:.0f}",
        # The supervisor ends its processes in order.
        "KillMode=mixed",
        "EnvironmentFile=-%E/beholder.env",
        f"ExecStart={' '.join(map(_quoted, command))}",
        "Restart=on-failure",
        "RestartSec=5",
        "# Wrong settings would be wrong at the next start too.",
        "RestartPreventExitStatus=2",
        *identity,
        "UMask=0077",
        "LimitNOFILE=65536",
        "# The supervisor replaces a worker that the kernel killed.",
        "OOMPolicy=continue",
        *_hardening(is_user=is_user),
        "",
        "[Install]",
        f"WantedBy={'default' if is_user else 'multi-user'}.target",
    )
    return "\n".join(lines) + "\n"


def _hardening(*, is_user: bool) -> list[str]:
    """Return what an instance on AWS is hardened with, or the part of it that a user's manager can do."""
    text = (resources.files("beholder.deploy") / "instance" / UNIT).read_text("utf-8")
    lines = text[text.index(_HARDENING_BEGINS) :].splitlines()
    return [line for line in lines if not is_user or line.partition("=")[0] in _OF_USERS]


def _quoted(word: str) -> str:
    """Return a word of a command line as systemd reads it back."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or not word or " " in word or "'" in word else word
