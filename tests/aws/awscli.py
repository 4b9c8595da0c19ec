"""A stand-in for the `aws` command, so that a page's script runs as it stands where that is not installed.

`aws SERVICE COMMAND --option VALUE` is one call of boto3, with the names of AWS's own command made from the
same model. Structures, lists and maps are JSON; of `file://`, `--query` and `--output text` it knows as much.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import boto3
import jmespath
from botocore import xform_name

_SERVICES = {"s3api": "s3"}
_STRUCTURED = ("structure", "list", "map")


def main(words: list[str]) -> None:
    """Make one call and show its answer as the command does."""
    service, command, *rest = words
    client: Any = boto3.client(_SERVICES.get(service, service))  # type: ignore[call-overload]
    model = client.meta.service_model
    operation = next(one for one in model.operation_names if xform_name(one, "-") == command)
    shape = model.operation_model(operation).input_shape
    members = {f"--{xform_name(name, '-')}": name for name in shape.members} if shape else {}
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    query, output = options.pop("--query", None), options.pop("--output", "json")
    arguments = {
        members[option]: _value(text, shape.members[members[option]].type_name)
        for option, text in options.items()
    }
    answer = getattr(client, xform_name(operation))(**arguments)
    answer.pop("ResponseMetadata")
    found = jmespath.search(query, answer) if query else answer
    sys.stdout.write(f"{found}\n" if output == "text" else json.dumps(found, default=str) + "\n")


def _value(text: str, kind: str) -> Any:
    if text.startswith("file://"):
        text = Path(text.removeprefix("file://")).read_text(encoding="utf-8")
    return json.loads(text) if kind in _STRUCTURED else text


if __name__ == "__main__":
    assert os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://127.0.0.1:"), "only on an emulator"
    main(sys.argv[1:])
