"""AWS's own command line for scripts that run against an emulator, and for tests that read what was made.

What to install: `awscli==1.46.3` into an environment of its own, `.venv-awscli`; it pins what it needs.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aws.emulators import CREDENTIALS, REGION, ROOT, Emulator, end_process, miss

__all__ = ["aws_command", "aws_json"]

_PYTHON = ROOT / ".venv-awscli" / "bin" / "python"
_READY_S = 60.0
# Asks the server for one command, and ends as that ends.
_PROGRAM = """\
import json, os, socket, sys
asked = {{"folder": os.getcwd(), "environment": dict(os.environ), "words": sys.argv[1:]}}
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect({path!r})
    data = json.dumps(asked).encode() + b"\\n"
    sent = socket.send_fds(asking, [data], [0, 1, 2])
    asking.sendall(data[sent:])
    sys.exit(int(asking.recv(16) or 255))
"""


@contextmanager
def aws_command(emulator: Emulator, folder: Path) -> Iterator[None]:
    """Put a command `aws` into a folder; it calls the emulator until the block ends."""
    if not _PYTHON.exists():
        install = "python -m venv .venv-awscli && .venv-awscli/bin/pip install awscli==1.46.3"
        miss(f"awscli is not installed; {install}")
    # The path of a socket may have a hundred characters.
    with tempfile.TemporaryDirectory(prefix="aws-") as short, _server(emulator, Path(short) / "door") as door:
        program, command = folder / "aws.py", folder / "aws"
        program.write_text(_PROGRAM.format(path=str(door)), encoding="utf-8")
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -ES "{program}" "$@"\n', encoding="utf-8")
        command.chmod(0o755)
        yield


@contextmanager
def _server(emulator: Emulator, door: Path) -> Iterator[Path]:
    # Neither the files nor the region of the person who runs the tests.
    nowhere = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), "/nonexistent")
    server = str(Path(__file__).with_name("awscli_server.py"))
    process = subprocess.Popen(
        [_PYTHON, "-P", server, str(door), emulator.endpoint], env=CREDENTIALS | nowhere
    )
    try:
        deadline_s = time.monotonic() + _READY_S
        while not door.exists():
            assert process.poll() is None, "the server of the aws command has ended"
            assert time.monotonic() < deadline_s, "the server of the aws command does not start"
            time.sleep(0.02)
        yield door
    finally:
        end_process(process)


def aws_json(folder: Path, *words: str) -> Any:
    """Return what `aws` prints, read as JSON."""
    command = [folder / "aws", *words, "--region", REGION, "--output", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
