"""A guest: processes that take themselves for a machine.

It has a network of its own with nothing in it but the instance metadata service on its real address and the
emulator on the port that it has outside; a root of its own, which shows the host's and keeps what is written
in memory; processes and a name of its own. It runs user data as cloud-init does: once, as root, without
HOME, with what it prints on the console.

What it is not: a machine with a service manager. `systemctl` knows how to power off and nothing else, and
whoever is powered off is killed without a SIGTERM before: the worst that EC2 may do.

Every namespace is nameless, and process 1 reads a pipe whose other end is ours. So nothing can be left
behind: where the tests are killed, the pipe ends, process 1 ends, and with it all that is in the guest.
"""

import contextlib
import functools
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ec2.doors import Door, connect, connect_inside, listen_inside, relay
from ec2.imds import Instance, MetadataService

ROOT = Path(__file__).resolve().parents[2]
_IMDS_ADDRESS = ("169.254.169.254", 80)
_NEEDED = ("bash", "chroot", "ip", "mount", "nsenter", "unshare")
# Folders that are new and empty in a guest.
_FRESH = ("/run", "/tmp")  # noqa: S108
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_READY_S = 60.0
_REQUESTS = ("shutdown", "poweroff")

# Told to process 1 as arguments: the folder, the instance's id, the pipe for its news, what its disk has
# besides (or nothing), what to show as well, and, after a dash, what is to be empty.
_MAKE_ROOT = r"""
set -eu
folder=$1 name=$2 news=$3 disk=$4; shift 4
ip link set lo up
ip address add 169.254.169.254/32 dev lo
# /proc is still the host's, so this is the number by which the host knows us.
read -r pid _ < /proc/self/stat
echo "$pid" >&"$news"
read -r _

mount -t tmpfs -o size=1g tmpfs "$folder/disk"
root=$folder/disk/root
mkdir "$folder/disk/upper" "$folder/disk/work" "$root"
# No layer of its own: overlayfs takes none that lies below another, and it lies below /.
[ -z "$disk" ] || cp -a "$disk/." "$folder/disk/upper"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/disk/upper,workdir=$folder/disk/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
while [ $# -gt 0 ] && [ "$1" != - ]; do
  path=$1; shift
  mkdir -p "$root$path"
  mount --rbind "$path" "$root$path"
  mount -o remount,bind,ro "$root$path"
done
for path in "${@:2}"; do
  [ -d "$root$path" ] || continue  # it lies in one that is covered
  mount -t tmpfs -o ro tmpfs "$root$path"
done
mkdir "$root/run/ec2"
touch "$root/run/ec2/power"
mount --bind "$folder/power" "$root/run/ec2/power"
cp "$folder/user-data" "$folder/power.sh" "$root/run/ec2/"
echo "$name" > "$root/proc/sys/kernel/hostname"
echo up >&"$news"
eval "exec $news>&-"
exec chroot "$root" /bin/bash -c '
cd /
# A host that is a container may have these two mounted, and the root that we show has them empty.
name=$(cat /proc/sys/kernel/hostname)
echo "$name" > /etc/hostname
echo "127.0.0.1 localhost $name" > /etc/hosts
# Done in here, where an absolute link leads to a place of the guest and not of the host.
for bin in /usr/local/sbin /usr/sbin /sbin; do
  mkdir -p "$bin"
  for command in shutdown poweroff halt systemctl; do
    # What is there may be a link to the service manager, which is not to be written through.
    cp --remove-destination /run/ec2/power.sh "$bin/$command"
  done
done
(/run/ec2/user-data; echo "user data ended with status $?") < /dev/null &
read -r _
'
"""

# Tells the host what was asked, and returns at once, as the real ones do.
_POWER = r"""#!/bin/sh
request=shutdown
case "${0##*/} $*" in
  "poweroff -f"*|"poweroff --force"*|"halt -f"*|"halt --force"*) request=poweroff ;;
  "systemctl -f"*" poweroff"|"systemctl --force"*" poweroff"|"systemctl poweroff "*-f*) request=poweroff ;;
  poweroff*|halt*|"shutdown -h now"|"shutdown -P now"|"shutdown now"|"systemctl poweroff"|"systemctl halt") ;;
  *) echo "${0##*/} $*: a guest can only be powered off now" >&2; exit 1 ;;
esac
echo "$request" > /run/ec2/power
"""


class GuestFailed(Exception):
    """The guest did not come up; the message is what stands on its console."""


class Guest:
    """One guest; `start` boots it, `kill` ends it.

    Args:
        metadata: Its instance metadata service.
        folder: Its own, empty; the caller removes it.
        environment: Of every process in it, besides PATH.
        emulator: Host and port that `127.0.0.1` and the same port lead to inside.
        user_data: Run as cloud-init does: what begins with `#!`, once.
        covered: Folders of the host that are empty in the guest.
        disk: What is on its disk besides, as `save_disk` wrote it.
    """

    def __init__(
        self,
        metadata: MetadataService,
        folder: Path,
        environment: Mapping[str, str],
        emulator: tuple[str, int],
        user_data: bytes,
        covered: Sequence[Path] = (),
        disk: Path | None = None,
    ) -> None:
        self.metadata = metadata
        self.instance: Instance = metadata.instance
        self.namespace = ""
        self.network = ""
        self._folder = folder
        self._environment = {"PATH": _PATH, "LANG": "C.UTF-8", **environment}
        self._emulator = emulator
        self._user_data = user_data
        self._covered = covered
        self._disk = disk
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = -1
        self._first = -1
        self._power = -1
        self._held = contextlib.ExitStack()

    def start(self) -> None:
        """Boot; returns when user data runs.

        Raises:
            GuestFailed: It cannot be booted here, or did not come up in time. Nothing of it is left.
        """
        try:
            self._prepare()
            self._boot()
        except OSError as exc:
            self.kill()
            raise GuestFailed(f"{exc}\n{self.console()}") from exc
        except BaseException:
            self.kill()
            raise

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def requests(self) -> list[str]:
        """Return what was asked since the last call: 'shutdown', or 'poweroff' for one that is forced."""
        with contextlib.suppress(BlockingIOError):
            return [one for one in os.read(self._power, 4096).decode().split() if one in _REQUESTS]
        return []

    def console(self) -> str:
        """Return all that was printed so far."""
        log = self._folder / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def open_port(self, port: int) -> tuple[str, int]:
        """Return an address on the host that leads to a port of the guest, as long as that lives."""
        pid, listener = self._pid, socket.create_server(("127.0.0.1", 0))
        address: tuple[str, int] = listener.getsockname()
        door = Door(listener, lambda near: relay(near, connect_inside(pid, ("127.0.0.1", port))))
        self._held.callback(door.close)
        return address

    def save_disk(self, folder: Path) -> None:
        """Copy what was written on its disk into a new folder, for a guest that boots from there."""
        inside = ["nsenter", f"--mount=/proc/{self._pid}/ns/mnt"]
        subprocess.run([*inside, "cp", "-a", str(self._folder / "disk" / "upper"), str(folder)], check=True)

    def kill(self) -> None:
        """End every process of the guest at once; returns when none is left. A second call does nothing."""
        if self._first >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
        elif self._process is not None:
            self._process.kill()
        # Its parent is told of the end of process 1 when all others of the namespace are gone.
        if self._process is not None:
            self._process.wait()
        self._held.close()
        self._first = -1

    def _prepare(self) -> None:
        (self._folder / "disk").mkdir()
        for name, text in (("power.sh", _POWER.encode()), ("user-data", _runnable(self._user_data))):
            (self._folder / name).write_bytes(text)
            (self._folder / name).chmod(0o755)
        os.mkfifo(self._folder / "power")
        # Open for writing too: a pipe without a writer would be at its end.
        self._power = os.open(self._folder / "power", os.O_RDWR | os.O_NONBLOCK)
        self._held.callback(os.close, self._power)

    def _boot(self) -> None:
        news, for_guest = os.pipe()
        self._held.callback(os.close, news)
        try:
            self._process = self._unshared(for_guest)
        finally:
            os.close(for_guest)
        assert self._process.stdin is not None
        self._held.enter_context(self._process.stdin)
        self._pid = pid = int(self._await_news(news))
        self._first = os.pidfd_open(pid)
        self._held.callback(os.close, self._first)
        self.network = f"/proc/{pid}/ns/net"
        self.namespace = str(Path(f"/proc/{pid}/ns/pid").readlink())
        self._open_doors(pid)
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
        self._await_news(news)

    def _unshared(self, news: int) -> subprocess.Popen[bytes]:
        namespaces = ("--net", "--pid", "--mount", "--uts", "--ipc", "--propagation", "private")
        shown = [one for one in _hidden() if Path(one) not in self._covered]
        folder, name = str(self._folder), self.instance.instance_id
        disk = str(self._disk or "")
        told = (folder, name, str(news), disk, *shown, "-", *map(str, self._covered))
        with (self._folder / "console.log").open("wb") as console:
            return subprocess.Popen(
                [
                    "unshare",
                    *namespaces,
                    "--fork",
                    "--kill-child=KILL",
                    "bash",
                    "-c",
                    _MAKE_ROOT,
                    "guest",
                    *told,
                ],
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=self._environment,
                pass_fds=(news,),
                start_new_session=True,
            )

    def _await_news(self, news: int) -> str:
        is_told, _, _ = select.select([news], [], [], _READY_S)
        told = os.read(news, 100).decode() if is_told else ""
        if not told:
            raise GuestFailed(f"{self.instance.instance_id} did not come up:\n{self.console()}")
        return told

    def _open_doors(self, pid: int) -> None:
        self._open_door(pid, _IMDS_ADDRESS, self.metadata)
        port = self._emulator[1]
        door = Door(
            listen_inside(pid, ("127.0.0.1", port)), lambda near: relay(near, connect(self._emulator))
        )
        self._held.callback(door.close)

    def _open_door(self, pid: int, address: tuple[str, int], service: MetadataService) -> None:
        door = Door(listen_inside(pid, address), service.serve)
        self._held.callback(door.close)


@functools.cache
def why_no_guests() -> str:
    """Return why no guest can be booted here; empty where one can."""
    missing = [name for name in _NEEDED if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"{' '.join(missing)}: not installed (Debian: iproute2, util-linux)"
    if os.geteuid() != 0:
        return "only root may make namespaces and mounts"
    metadata = MetadataService(Instance("i-0"), lambda _arn, _name: {})
    with tempfile.TemporaryDirectory() as folder:
        guest = Guest(metadata, Path(folder), {}, ("127.0.0.1", 9), b"")
        try:
            guest.start()
        except GuestFailed as exc:
            return f"no guest can be booted here: {exc}"
        guest.kill()
    return ""


def _runnable(user_data: bytes) -> bytes:
    return user_data if user_data.startswith(b"#!") else b"#!/bin/sh\n"


def _hidden() -> list[str]:
    """Return the folders of the checkout and of this Python that a guest's root would not show."""
    device = Path("/").stat().st_dev
    wanted = sorted({ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()})
    return [
        str(path)
        for path in wanted
        if path.stat().st_dev != device or any(path.is_relative_to(fresh) for fresh in _FRESH)
    ]
