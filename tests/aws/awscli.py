"""A stand-in for the `aws` command, so that a page's script runs as it stands where that is not installed.

`aws SERVICE COMMAND --option VALUE` is one call of boto3, with the names of AWS's own command made from the
same model. Structures, lists and maps are JSON; of `file://`, `--query` and `--output text` it knows as much.
The command passes its words to the process of the test, since a script of thirty commands would spend most
of its time on thirty imports of boto3.
"""

import json
import socketserver
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jmespath
from botocore import xform_name

from aws.emulators import Emulator

__all__ = ["aws_command"]

_SERVICES = {"s3api": "s3"}
_STRUCTURED = ("structure", "list", "map")
_PROGRAM = """\
import json, os, socket, sys
with socket.create_connection(("127.0.0.1", {port})) as asking:
    asking.sendall(json.dumps([os.getcwd(), sys.argv[1:]]).encode() + b"\\n")
    status, text = json.loads(asking.makefile().read())
print(text, file=sys.stderr if status else sys.stdout)
sys.exit(status)
"""


@contextmanager
def aws_command(emulator: Emulator, folder: Path) -> Iterator[None]:
    """Put a command `aws` into a folder; it calls the emulator until the block ends."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            where, words = json.loads(self.rfile.readline())
            try:
                answer = 0, _call(emulator, Path(where), words)
            except Exception:  # noqa: BLE001 -- the script sees a command that fails
                answer = 1, traceback.format_exc()
            self.wfile.write(json.dumps(answer).encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        program, command = folder / "aws.py", folder / "aws"
        program.write_text(_PROGRAM.format(port=server.server_address[1]), encoding="utf-8")
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -ES "{program}" "$@"\n', encoding="utf-8")
        command.chmod(0o755)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _call(emulator: Emulator, folder: Path, words: list[str]) -> str:
    """Make one call, and return what the command shows of its answer."""
    service, command, *rest = words
    client = emulator.client(_SERVICES.get(service, service))
    model = client.meta.service_model
    operation = next(one for one in model.operation_names if xform_name(one, "-") == command)
    shape = model.operation_model(operation).input_shape
    members = {f"--{xform_name(name, '-')}": name for name in shape.members} if shape else {}
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    query, output = options.pop("--query", None), options.pop("--output", "json")
    arguments = {
        members[option]: _value(folder, text, shape.members[members[option]].type_name)
        for option, text in options.items()
    }
    answer = getattr(client, xform_name(operation))(**arguments)
    answer.pop("ResponseMetadata")
    found = jmespath.search(query, answer) if query else answer
    return str(found) if output == "text" else json.dumps(found, default=str)


def _value(folder: Path, text: str, kind: str) -> Any:
    if text.startswith("file://"):
        text = (folder / text.removeprefix("file://")).read_text(encoding="utf-8")
    return json.loads(text) if kind in _STRUCTURED else text
