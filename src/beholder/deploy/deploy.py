"""Makes a deployment, or changes one: the stack, the bundle, the web tier, and an image as the proof.

Nothing is kept on this machine: the stack and its tags are the truth, so a run that was interrupted is run
again, and does what is missing. The order keeps the working version: new web instances serve before old ones
go, and what fails leaves the old ones in place, with the stack set back to them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn

from beholder.deploy.account import Account
from beholder.deploy.bundle import Bundle
from beholder.deploy.bundle_bucket import MESSAGE_VERSION, VERSION, BundleBucket, State
from beholder.deploy.costs import hourly_costs, prices_in
from beholder.deploy.inventory import bucket_names
from beholder.deploy.plan import Plan
from beholder.deploy.stack import ChangeSet, Stack
from beholder.deploy.waiting import Waiting
from beholder.deploy.web_tier import WebTier
from beholder.errors import BackendDenied, BeholderError, DeployError
from beholder.job.message import Message

__all__ = ["Deploy"]

Canary = Callable[[str, str], None]

# A balancer takes minutes, an Auto Scaling group with a failing instance as well.
_STACK_S_MAX = 3600.0
# How the template begins the names of buckets.
_BUCKET_PREFIX = '"${AWS::StackName}-${AWS::AccountId}-${AWS::Region}-'
# How IAM says that a service-linked role is there already. Source:
# https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateServiceLinkedRole.html
# (2026-11); an emulator says it as of any role.
_ROLE_EXISTS = ("InvalidInput", "EntityAlreadyExists")
_BUSY_S_MAX = 60.0
# Of the messages that the workers have, once no web instance sends any.
_DRAIN_S_MAX = 3600.0
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
        self._bundles = BundleBucket(account, name)
        self.step = "nothing was changed yet"
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
            self.step = "the rollback of an earlier change is being tried again, or was"
            self._told = self._stack.begin(self._stack.continue_rollback, self._waiting)
            self._finish(is_under_way=True)
            status = self._stack.status()
        if status in _STILLBORN:
            self._tell(f"an earlier creation failed: {self._cause()}")
            self._tell("removing what is left of it")
            self.step = "what an earlier creation left is being removed, or was"
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
        canary: Canary,
        drain: bool = False,
    ) -> str:
        """Bring the deployment to the plan, and return its URL once the canary came back.

        Args:
            plan: Made after `settle`.
            bundle: What its instances run.
            canary: Sends an image to the web tier at this URL, whose certificate is for this host name if
                there is one; raises `DeployError` if it does not come back recognised.
            drain: Whether the service may be stopped until the queue is empty, where the processes of the two
                versions cannot read each other's messages.

        Raises:
            DeployError: It does not work; what worked before still does.
            ConfigError: The stack of this name is not beholder's.
            BackendError: A service refuses, or does not answer.
        """
        wanted = _steady(
            {**plan.parameters, "BundleKey": bundle.key, "BundleSha256": bundle.sha256}, plan.before
        )
        if float(wanted["OnDemandShare"]) < 1:
            self._make_spot_role()
        if self._stack.status() in _EMPTY:
            self._change(State(plan.template, {**wanted, "WebInstances": "0"}))
        if not self._bundles.metadata(bundle.key):
            self.step = "the bundle was being uploaded, and nothing uses it yet"
            self._tell(f"uploading the bundle, {bundle.path.stat().st_size / 1e6:.0f} MB")
            self._bundles.upload(bundle, wanted["Models"])
        self._check_messages(plan.before, drain=drain)
        return self._switch(plan.before, State(plan.template, wanted), canary)

    def earlier(self, plan: Plan) -> Plan:
        """Return the plan that takes the last change back: template and parameters as they were before it.

        Args:
            plan: Of the deployment as it is.

        Raises:
            DeployError: There is nothing to go back to.
            BackendError: A service refuses, or does not answer.
        """
        state = self._bundles.read_state(plan.before.get("PreviousState", ""))
        metadata = self._bundles.metadata(state.parameters["BundleKey"]) if state else {}
        if not state or not metadata:
            raise DeployError(f"{self._name} has no earlier version to go back to")
        if metadata[MESSAGE_VERSION] != str(Message.VERSION):
            raise DeployError(
                f"the earlier version reads messages of version {metadata[MESSAGE_VERSION]} alone, "
                f"and the queue may hold some of version {Message.VERSION}"
            )
        return replace(
            plan,
            parameters=state.parameters,
            template=state.template,
            versions=(plan.versions[0], metadata.get(VERSION, "unknown")),
            costs=hourly_costs(state.parameters, prices_in(state.parameters["Prices"])),
            network="",
            notes=(),
        )

    def roll_back(self, plan: Plan, *, canary: Canary) -> str:
        """Bring the deployment back to what it was before its last change, and return its URL.

        Args:
            plan: As `earlier` returns it.
            canary: As `run` has it.

        Raises:
            DeployError: It does not work; what worked before still does.
            BackendError: A service refuses, or does not answer.
        """
        return self._switch(plan.before, State(plan.template, plan.parameters), canary)

    # --- the stack ---------------------------------------------------------------------------------------

    def _switch(self, before: Mapping[str, str], wanted: State, canary: Canary) -> str:
        """Change the stack and replace the web instances; go back to the old ones if the new ones fail."""
        working = self._working(before)
        key = before.get("PreviousState", "")
        if working and not working.equals(wanted):
            key = self._bundles.store_state(working)
        wanted = State(wanted.template, {**wanted.parameters, "PreviousState": key})
        self._change(wanted)
        outputs = self._stack.outputs()
        tier = WebTier(self._account, outputs, self._waiting)
        self.step = "new web instances were starting" + ("; the old ones still serve" if working else "")
        try:
            tier.replace(
                int(wanted.parameters["WebInstances"]),
                lambda own: canary(
                    *((own, "") if own else _way_in(tier, outputs, wanted.parameters["HostName"]))
                ),
            )
        except BeholderError as exc:
            self._take_back(exc, tier, wanted, working)
        if not key:  # the first version that came through; with each later one, that before it is stored
            self._bundles.store_state(wanted)
        return tier.url(outputs)

    def _take_back(self, exc: BeholderError, tier: WebTier, failed: State, working: State | None) -> NoReturn:
        """Go back to what works; raises `DeployError`."""
        if working is None:
            self._tell(f"{exc.message}; ending the web tier, which would launch such instances for ever")
            self._change(State(failed.template, {**failed.parameters, "WebInstances": "0"}))
            raise exc
        self._tell(f"{exc.message}; going back to the version before")
        self.step = "the version before was being brought back"
        tier.end_new()
        self._change(working)
        tier.set_size(int(working.parameters["WebInstances"]))
        raise DeployError(f"{exc.message}; {self._name} is as it was") from exc

    def _working(self, before: Mapping[str, str]) -> State | None:
        """Return the state that works: the stack's, or that of instances that are older; None for a new one.

        Where an earlier run was interrupted after it had changed the stack, the stack's version never came
        through, and instances of the version before still serve. After a first run that never came through,
        none do, unless one was late; an instance that is being healed is not ready either, so that alone
        does not tell.
        """
        if not int(before.get("WebInstances", 0)):
            return None
        now = State(self._stack.template(), before)
        tier = WebTier(self._account, self._stack.outputs(), self._waiting)
        if not self._bundles.has_states() and not tier.has_any_ready():
            return None
        key = tier.older_bundle()
        if key in {"", before["BundleKey"]}:
            return now
        previous = self._bundles.read_state(before.get("PreviousState", ""))
        return previous if previous and previous.parameters["BundleKey"] == key else now

    def _change(self, wanted: State) -> None:
        """Bring the stack to a template and parameters, by a change set."""
        is_new = self._stack.status() in _EMPTY
        existing = is_new and any(map(self._has_bucket, bucket_names(self._account, self._name)))
        if not self._waiting.until(
            "an earlier change set is gone", self._stack.forget_change, most_s=_BUSY_S_MAX
        ):
            raise DeployError("CloudFormation is busy with an earlier change; run the command again to go on")
        self._stack.prepare(
            self._with_names(wanted.template) if existing else wanted.template,
            wanted.parameters,
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
        self.step = "CloudFormation changes the stack, and goes on without this command"
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
        version = self._bundles.metadata(key).get(MESSAGE_VERSION, "")
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


def _way_in(tier: WebTier, outputs: Mapping[str, str], host_name: str) -> tuple[str, str]:
    """Return a URL that leads to the web tier at once, and the host name of its certificate if it has one.

    The host name leads nowhere until a person has pointed it at the balancer.
    """
    return (f"https://{outputs['BalancerHost']}", host_name) if host_name else (tier.url(outputs), "")


def _steady(wanted: Mapping[str, str], before: Mapping[str, str]) -> Mapping[str, str]:
    """Return the parameters with the old prices where nothing else changes: spot prices alter by the hour."""
    differing = {key for key, value in wanted.items() if before.get(key) != value}
    return {**wanted, "Prices": before["Prices"]} if differing == {"Prices"} and before else wanted
