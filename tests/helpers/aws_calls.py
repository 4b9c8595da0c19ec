"""What the commands on a deployment call of AWS, and what rights that takes."""

import ast
import functools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from beholder.deploy.inventory import KINDS

__all__ = ["asked", "calls_in", "rights_of", "sources"]

_ROOT = Path(__file__).resolve().parents[2]
# A room or command that speaks to the account of a deployment.
_SPEAKS = "beholder.deploy.account"
# Prefixes of IAM's actions, where they are not boto3's names of services.
_PREFIXES = {"elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}
# Rights that are not called as the call is.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html (2026-11)
_RIGHTS = {
    ("s3", "list_buckets"): ["s3:ListAllMyBuckets"],
    ("s3", "list_object_versions"): ["s3:ListBucketVersions"],
    ("s3", "list_objects_v2"): ["s3:ListBucket"],
    ("s3", "head_bucket"): ["s3:ListBucket"],
    ("s3", "head_object"): ["s3:GetObject"],
    ("s3", "delete_objects"): ["s3:DeleteObject", "s3:DeleteObjectVersion"],
    ("s3", "upload_file"): ["s3:PutObject", "s3:AbortMultipartUpload"],
    ("s3", "get_public_access_block"): ["s3:GetBucketPublicAccessBlock"],
    ("s3", "get_bucket_encryption"): ["s3:GetEncryptionConfiguration"],
    ("s3", "get_bucket_lifecycle_configuration"): ["s3:GetLifecycleConfiguration"],
    ("s3", "get_bucket_notification_configuration"): ["s3:GetBucketNotification"],
}


class _Recorder:
    """An account that knows nothing, and notes what it is asked."""

    def __init__(self) -> None:
        self.region = "us-east-1"
        self.asked: set[tuple[str, str]] = set()

    def call(self, service: str, action: str, **_: Any) -> dict[str, Any]:
        self.asked.add((service, action))
        return {}

    def pages(self, service: str, action: str, _member: str, **_: Any) -> list[Any]:
        self.asked.add((service, action))
        return []


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Return the files that call the services of a deployment's account."""
    for path in sorted((_ROOT / "src" / "beholder").rglob("*.py")):
        text = path.read_text("utf-8")
        if _SPEAKS in text:
            yield path, ast.parse(text)


def calls_in(tree: ast.Module) -> Iterator[tuple[ast.Call, list[object]]]:
    """Return each call of `Account.call` and `pages`, with its service and action; None where not literal."""
    for node in ast.walk(tree):
        is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if is_method and node.func.attr in {"call", "pages"} and len(node.args) >= 2:
            yield node, [one.value if isinstance(one, ast.Constant) else None for one in node.args[:2]]


@functools.cache
def asked() -> set[tuple[str, str]]:
    """Return the services and actions that the commands on a deployment call."""
    found = {
        (str(service), str(action))
        for _, tree in sources()
        for _, (service, action) in calls_in(tree)
        if service and action
    }
    for kind in KINDS:
        recorder = _Recorder()
        for does in (kind.find, kind.delete):
            with suppress(KeyError):  # of an answer that is not there
                does(recorder, "zoo")  # type: ignore[arg-type]
        found |= recorder.asked
    return found


def rights_of(service: str, action: str) -> list[str]:
    """Return what IAM calls the rights that a call needs."""
    plain = f"{_PREFIXES.get(service, service)}:{action.replace('_', '')}"
    return _RIGHTS.get((service, action), [plain])
