"""The scripts of docs/aws.md, as an operator copies them."""

import os
import re
import subprocess
import sys
from pathlib import Path

from aws.awscli import aws_command
from aws.emulators import REGION, Emulator
from docs.pages import blocks, read

__all__ = ["PAGE", "block_with", "set_up", "user_data"]

PAGE = "docs/aws.md"
_PREFIX_OF_THE_PAGE = "zoo"


def block_with(line: str) -> str:
    """Return the one block of the page that holds a text."""
    (found,) = [one.text for one in blocks(read(PAGE)) if line in one.text]
    return found


def user_data(prefix: str, **settings: object) -> str:
    """Return the page's user data for a deployment, with a beholder that is installed here.

    Args:
        prefix: Of the deployment.
        settings: What is set besides, by name.
    """
    script = block_with("# user-data.sh")
    for old, new in (
        (f"BEHOLDER_PREFIX={_PREFIX_OF_THE_PAGE} ", f"BEHOLDER_PREFIX={prefix} "),
        ("BEHOLDER_REGION=us-east-1", f"BEHOLDER_REGION={REGION}"),
        ("/opt/beholder/bin", str(Path(sys.executable).parent)),
    ):
        assert script.count(old) == 1, old
        script = script.replace(old, new)
    more = "".join(f" BEHOLDER_{name.upper()}={value}" for name, value in settings.items())
    return re.sub(r"^(export BEHOLDER_LEAVE_BY=shutdown)$", rf"\1{more}", script, flags=re.MULTILINE)


def set_up(emulator: Emulator, prefix: str, folder: Path) -> Path:
    """Run the page's script in a folder, which then holds what it wrote; returns the folder."""
    (folder / "setup.sh").write_text(block_with("# setup.sh"), encoding="utf-8")
    (folder / "user-data.sh").write_text(user_data(prefix), encoding="utf-8")
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    ec2 = emulator.client("ec2")
    given = {
        "PREFIX": prefix,
        "REGION": REGION,
        "ACCOUNT": emulator.client("sts").get_caller_identity()["Account"],
        "VPC": ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
        "IMAGE": "ami-0123456789abcdef0",
        "INSTANCE_TYPE": "c7a.large",
    }
    with aws_command(emulator, bin_folder):
        run = subprocess.run(
            ["bash", "setup.sh"],
            cwd=folder,
            env={"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", **given},
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    return folder
