"""A machine with a real service manager: systemd in a root of its own, in the network of a guest."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["boot_under_systemd", "why_no_systemd"]

# Told as arguments: an empty folder, and what is to be empty; user data on standard input.
_BOOT = r"""
set -eu
disk=$1; shift
mount -t tmpfs -o size=2g tmpfs "$disk"
mkdir "$disk/upper" "$disk/work" "$disk/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
for path in "$@"; do
  [ ! -d "$disk/root$path" ] || mount -t tmpfs -o ro tmpfs "$disk/root$path"
done
root=$disk/root
: > "$root/etc/machine-id"
cat > "$root/user-data"  # standard input
chmod +x "$root/user-data"
cat > "$root/etc/systemd/system/cloud-final.service" <<'EOF'
[Unit]
After=basic.target
[Service]
Type=oneshot
KillMode=process
ExecStart=/user-data
EOF
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sf ../cloud-final.service "$root/etc/systemd/system/multi-user.target.wants/cloud-final.service"
mkdir -p "$root/var/log/journal"
systemd-nspawn --quiet -D "$root" --boot --register=no --keep-unit --console=pipe \
  "--network-namespace-path=$NETWORK" < /dev/null
journalctl --directory="$root/var/log/journal" --output=cat --no-pager
"""


def why_no_systemd() -> str:
    """Return why nothing can be booted under systemd here; empty where it can."""
    if shutil.which("systemd-nspawn") and Path("/lib/systemd/systemd").exists():
        return ""
    return "systemd-nspawn is not installed; apt-get install systemd-container systemd-sysv dbus"


def boot_under_systemd(
    user_data: str, *, network: str, disk: Path, covered: Sequence[Path], timeout_s: float
) -> str:
    """Boot, run user data as cloud-init does, and return the journal once the machine has powered off.

    Args:
        user_data: With all that it needs to be told; the harness sets no environment here.
        network: Path of the network namespace that it is in, such as a guest's.
        disk: An empty folder.
        covered: Folders of the host that are empty in it.
        timeout_s: It has powered off by then.

    Raises:
        AssertionError: It did not boot.
        TimeoutExpired: It has not powered off.
    """
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", _BOOT, "boot", disk, *covered],
        input=user_data,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NETWORK": network},
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
