"""Makes a deployment, or changes one: the stack, the bundle, the web tier, and an image as the proof.

Nothing is kept on this machine: the stack and its tags are the truth, so a run that was interrupted is run
again, and does what is missing. The order keeps the working version: new web instances serve before old ones
go, and what fails leaves the old ones in place, with the stack set back to them.
"""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path

from beholder.deploy.account import Account
from beholder.deploy.bundle import Bundle
from beholder.deploy.inventory import bucket_names
from beholder.deploy.plan import Plan, template_text
from beholder.deploy.stack import ChangeSet, Stack
from beholder.deploy.waiting import Waiting
from beholder.deploy.web_tier import WebTier
from beholder.errors import BackendDenied, BeholderError, DeployError
from beholder.job.message import Message

__all__ = ["Deploy"]

_NO_OBJECT = ("NoSuchKey", "NoSuchBucket", "404")
# A balancer takes minutes, an Auto Scaling group with a failing instance as well.
_STACK_S_MAX = 3600.0
_CHUNK_BYTES = 1 << 20
# How the template begins the names of buckets.
_BUCKET_PREFIX = '"${AWS::StackName}-${AWS::AccountId}-${AWS::Region}-'
# How IAM says that a service-linked role is there already. Source:
# https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateServiceLinkedRole.html
# (2026-11); an emulator says it as of any role.
_ROLE_EXISTS = ("InvalidInput", "EntityAlreadyExists")
_BUSY_S_MAX = 60.0
# Of the messages that the workers have, once no web instance sends any.
_DRAIN_S_MAX = 3600.0
_MESSAGE_VERSION = "message-version"
_DEPTHS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
# What became of the stack when its creation failed: nothing of it can be updated.
_STILLBORN = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")
_EMPTY = ("", "REVIEW_IN_PROGRESS")
_WORDS = {
    "CREATE_COMPLETE": "made",
    "UPDATE_COMPLETE": "changed",
    "DELETE_COMPLETE": "removed",
    "IMPORT_COMPLETE": "took over",
    "CREATE_FAILED": "could not make",
    "UPDATE_FAILED": "could not change",
    "DELETE_FAILED": "could not remove",
}


class Deploy:
    """Brings one deployment to its plan.

    Args:
        account: The account and region of the deployment.
        name: The deployment's name.
        waiting: Waits and tells progress.
    """

    def __init__(self, account: Account, name: str, waiting: Waiting) -> None:
        self._account = account
        self._name = name
        self._waiting = waiting
        self._tell = waiting.tell
        self._stack = Stack(account, name)
        self._told: set[str] = set()

    def settle(self) -> None:
        """Wait for a change that is under way, and clear away a stack whose creation failed.

        Raises:
            DeployError: The stack is in a state that only a person can end.
            ConfigError: The stack of this name is not beholder's.
            BackendError: A service refuses, or does not answer.
        """
        self._finish()
        status = self._stack.status()
        if status == "UPDATE_ROLLBACK_FAILED":
            self._tell("the rollback of an earlier change failed; trying it again")
            self._told = self._stack.begin(self._stack.continue_rollback, self._waiting)
            self._finish(is_under_way=True)
            status = self._stack.status()
        if status in _STILLBORN:
            self._tell(f"an earlier creation failed: {self._cause()}")
            self._tell("removing what is left of it")
            self._told = self._stack.begin(self._stack.delete, self._waiting)
            self._finish(is_under_way=True)
            status = self._stack.status()
        if status in {"DELETE_FAILED", "UPDATE_ROLLBACK_FAILED", *_STILLBORN}:
            raise DeployError(
                f"the stack is {status}: {self._cause()}; run beholder destroy {self._name}, then deploy"
            )

    def run(
        self,
        plan: Plan,
        bundle: Bundle,
        *,
        canary: Callable[[str], None],
        drain: bool = False,
    ) -> str:
        """Bring the deployment to the plan, and return its URL once the canary came back.

        Args:
            plan: Made after `settle`.
            bundle: What its instances run.
            canary: Sends an image to the web tier at this URL; raises `DeployError` if it does not come back
                recognised.
            drain: Whether the service may be stopped until the queue is empty, where the processes of the two
                versions cannot read each other's messages.

        Raises:
            DeployError: It does not work; what worked before still does.
            ConfigError: The stack of this name is not beholder's.
            BackendError: A service refuses, or does not answer.
        """
        wanted = _steady({**plan.parameters, **self._bundle_parameters(plan.before, bundle)}, plan.before)
        if float(wanted["OnDemandShare"]) < 1:
            self._make_spot_role()
        if self._stack.status() in _EMPTY:
            self._change(template_text(), {**wanted, "WebInstances": "0"})
        self._upload(bundle, wanted["Models"])
        self._check_messages(plan.before, drain=drain)
        return self._switch(plan.before, wanted, canary)

    def roll_back(self, plan: Plan, *, canary: Callable[[str], None]) -> str:
        """Bring the deployment back to the bundle that it had before, and return its URL.

        Args:
            plan: Of the deployment as it is.
            canary: As `run` has it.

        Raises:
            DeployError: There is none, or it does not work; what worked before still does.
            BackendError: A service refuses, or does not answer.
        """
        key = plan.before.get("PreviousBundleKey", "")
        metadata = self._metadata(key) if key else {}
        if not metadata:
            raise DeployError(f"{self._name} has no earlier version to go back to")
        if metadata[_MESSAGE_VERSION] != str(Message.VERSION):
            raise DeployError(
                f"the earlier version reads messages of version {metadata[_MESSAGE_VERSION]} alone, "
                f"and the queue may hold some of version {Message.VERSION}"
            )
        wanted = {
            **plan.parameters,
            "BundleKey": key,
            "BundleSha256": key.partition(".")[0],
            "PreviousBundleKey": plan.before["BundleKey"],
            "Models": metadata["models"],
        }
        return self._switch(plan.before, wanted, canary)

    def fetch_bundle(self, key: str, folder: Path) -> Path | None:
        """Return a bundle of the bucket as a file in a folder, None where it is not there any more.

        Raises:
            BackendError: S3 refuses, or does not answer.
        """
        bucket = bucket_names(self._account, self._name)[-1]
        found = self._account.call("s3", "get_object", expected=_NO_OBJECT, Bucket=bucket, Key=key)
        if "Body" not in found:
            return None
        path = folder / f"running-{key}"
        with path.open("wb") as written:
            for chunk in found["Body"].iter_chunks(_CHUNK_BYTES):
                written.write(chunk)
        return path

    # --- the stack ---------------------------------------------------------------------------------------

    def _switch(
        self,
        before: Mapping[str, str],
        wanted: Mapping[str, str],
        canary: Callable[[str], None],
    ) -> str:
        """Change the stack and replace the web instances; go back to the old ones if the new ones fail."""
        had_instances = int(before.get("WebInstances", 0))
        template, working = self._stack.template(), self._working(before)
        self._change(template_text(), wanted)
        outputs = self._stack.outputs()
        tier = WebTier(self._account, outputs, self._waiting)
        try:
            tier.replace(int(wanted["WebInstances"]), lambda: canary(tier.url(outputs)))
        except BeholderError as exc:
            if not had_instances:
                raise
            self._tell(f"{exc.message}; going back to the version before")
            tier.end_new()
            self._change(template, working)
            tier.set_size(had_instances)
            raise DeployError(f"{exc.message}; {self._name} is as it was") from exc
        return tier.url(outputs)

    def _working(self, before: Mapping[str, str]) -> Mapping[str, str]:
        """Return the parameters of the version that works: the stack's, or those of instances that are older.

        Where an earlier run was interrupted after it had changed the stack, the stack's version never came
        through, and instances of the version before still serve.
        """
        if not int(before.get("WebInstances", 0)):
            return before
        key = WebTier(self._account, self._stack.outputs(), self._waiting).older_bundle()
        metadata = self._metadata(key) if key not in {"", before["BundleKey"]} else {}
        if not metadata:
            return before
        return {
            **before,
            "BundleKey": key,
            "BundleSha256": key.partition(".")[0],
            "PreviousBundleKey": "",
            "Models": metadata["models"],
        }

    def _change(self, template: str, parameters: Mapping[str, str]) -> None:
        """Bring the stack to a template and parameters, by a change set."""
        is_new = self._stack.status() in _EMPTY
        existing = is_new and any(map(self._has_bucket, bucket_names(self._account, self._name)))
        if not self._waiting.until(
            "an earlier change set is gone", self._stack.forget_change, most_s=_BUSY_S_MAX
        ):
            raise DeployError("CloudFormation is busy with an earlier change; run the command again to go on")
        self._stack.prepare(
            self._with_names(template) if existing else template,
            parameters,
            is_new=is_new,
            imports_existing=existing,
        )
        prepared: ChangeSet | None = None

        def is_prepared() -> bool:
            nonlocal prepared
            prepared = self._stack.prepared()
            return prepared is not None

        self._waiting.until("CloudFormation has worked out the changes", is_prepared, most_s=_STACK_S_MAX)
        if not prepared or not prepared.is_needed:
            self._stack.forget_change()
            return
        replaced = [one.id for one in prepared.changes if one.replaces]
        self._tell(
            f"{len(prepared.changes)} resources change"
            + (f", {', '.join(replaced)} by new ones" if replaced else "")
        )
        self._told = self._stack.begin(self._stack.execute, self._waiting)
        self._finish(is_under_way=True)
        status = self._stack.status()
        if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            raise DeployError(f"the stack is {status or 'gone'}: {self._cause()}")

    def _finish(self, *, is_under_way: bool = False) -> None:
        """Wait until the stack's change has ended, and tell each resource as it comes.

        Args:
            is_under_way: Whether a change has begun; else the newest events may be of an earlier one.
        """

        def has_ended() -> bool:
            nonlocal is_under_way
            status = self._stack.status()
            is_changing = status.endswith("_IN_PROGRESS") and status not in _EMPTY
            is_under_way = is_under_way or is_changing
            if is_under_way and status not in _EMPTY:
                self._tell_events()
            return not is_changing

        if not self._waiting.until("CloudFormation is done", has_ended, most_s=_STACK_S_MAX):
            raise DeployError("CloudFormation is not done after an hour; run the command again to go on")

    def _tell_events(self) -> None:
        for one in self._stack.events():
            if one.key not in self._told and one.id != self._name and one.status in _WORDS:
                reason = f": {one.reason}" if one.reason and one.status.endswith("FAILED") else ""
                self._tell(f"  {_WORDS[one.status]} {one.id}{reason}")
            self._told.add(one.key)

    def _cause(self) -> str:
        return next(
            (f"{one}: {why}" for one, why in self._stack.failures().items()), "CloudFormation tells no cause"
        )

    def _make_spot_role(self) -> None:
        """Make the role without which EC2 launches no spot instance; an account has it once and for all.

        Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
        (2026-11); an EC2 Fleet of type instant needs no role of its own.
        """
        try:
            self._account.call(
                "iam",
                "create_service_linked_role",
                expected=_ROLE_EXISTS,
                AWSServiceName="spot.amazonaws.com",
            )
        except BackendDenied as exc:
            self._tell(f"the service-linked role of spot is there already, or is missing: {exc.message}")

    def _with_names(self, template: str) -> str:
        """Return the template with the names of its buckets in full: what is imported has no other.

        Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/import-resources-automatically.html
        (2026-11), "must have a static custom name".
        """
        for bucket in bucket_names(self._account, self._name):
            purpose = bucket.rpartition("-")[2]
            template = template.replace(f'!Sub {_BUCKET_PREFIX}{purpose}"', f'"{bucket}"')
        return template

    def _has_bucket(self, bucket: str) -> bool:
        return "Errors" not in self._account.call(
            "s3", "head_bucket", expected=("NoSuchBucket", "404"), Bucket=bucket
        )

    def _check_messages(self, before: Mapping[str, str], *, drain: bool) -> None:
        """Refuse a version whose messages the running one cannot read, or first let the queue run empty."""
        key = before.get("BundleKey", "")
        if not key or not int(before["WebInstances"]):
            return
        version = self._metadata(key).get(_MESSAGE_VERSION, "")
        if version == str(Message.VERSION):
            return
        if not drain:
            raise DeployError(
                f"the running processes read messages of version {version or 'unknown'}, the new ones write "
                f"version {Message.VERSION}; --drain stops the service until its queue is empty"
            )
        outputs = self._stack.outputs()
        tier = WebTier(self._account, outputs, self._waiting)
        tier.set_size(0)
        queue = self._account.call("sqs", "get_queue_url", QueueName=outputs["InputQueue"])["QueueUrl"]
        self._waiting.until("the web tier has stopped", lambda: not tier.instances(), most_s=_DRAIN_S_MAX)
        if not self._waiting.until("the queue is empty", lambda: self._is_empty(queue), most_s=_DRAIN_S_MAX):
            tier.set_size(int(before["WebInstances"]))
            raise DeployError("the queue was not empty within an hour; the service runs on as it was")

    def _is_empty(self, queue: str) -> bool:
        told = self._account.call("sqs", "get_queue_attributes", QueueUrl=queue, AttributeNames=["All"])
        return not any(int(told["Attributes"][one]) for one in _DEPTHS)

    # --- the bundle --------------------------------------------------------------------------------------

    def _bundle_parameters(self, before: Mapping[str, str], bundle: Bundle) -> Mapping[str, str]:
        had = before.get("BundleKey", "")
        previous = had if had not in {"", bundle.key} else before.get("PreviousBundleKey", "")
        return {"BundleKey": bundle.key, "BundleSha256": bundle.sha256, "PreviousBundleKey": previous}

    def _metadata(self, key: str) -> Mapping[str, str]:
        """Return what is said of a bundle in the bucket; empty where there is no such bundle."""
        bucket = bucket_names(self._account, self._name)[-1]
        found = self._account.call("s3", "head_object", expected=_NO_OBJECT, Bucket=bucket, Key=key)
        metadata: Mapping[str, str] = found.get("Metadata", {})
        return metadata

    def _upload(self, bundle: Bundle, models: str) -> None:
        if self._metadata(bundle.key):
            return
        self._tell(f"uploading the bundle, {bundle.path.stat().st_size / 1e6:.0f} MB")
        with bundle.path.open("rb") as content:
            self._account.call(
                "s3",
                "put_object",
                Bucket=bucket_names(self._account, self._name)[-1],
                Key=bundle.key,
                Body=content,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(bundle.sha256)).decode(),
                Metadata={"models": models, _MESSAGE_VERSION: str(Message.VERSION)},
            )


def _steady(wanted: Mapping[str, str], before: Mapping[str, str]) -> Mapping[str, str]:
    """Return the parameters with the old prices where nothing else changes: spot prices alter by the hour."""
    differing = {key for key, value in wanted.items() if before.get(key) != value}
    return {**wanted, "Prices": before["Prices"]} if differing == {"Prices"} and before else wanted
