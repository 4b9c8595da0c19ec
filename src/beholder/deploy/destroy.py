"""Takes a deployment down, and proves that nothing is left.

Every step may be repeated and works on what it finds, so a destroy that was interrupted, or that meets a
half-made or half-deleted deployment, is run again. The order matters: the web tier goes first, because its
controller launches instances; then the instances, then the stack, and then whatever the stack did not own.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from beholder.deploy.account import Account
from beholder.deploy.inventory import KINDS, Found, Kind, bucket_names, find_all
from beholder.deploy.stack import Stack
from beholder.deploy.waiting import Waiting
from beholder.errors import BackendError, ConfigError, DeployError, ResourceNotFound
from beholder.fleet.ec2 import DEPLOYMENT_TAG

__all__ = ["Destroy", "Left", "other_regions"]

_DELETING = "DELETE_IN_PROGRESS"
_UNDELETED = "DELETE_FAILED"
# A change set waits for a first execution; nothing is being made.
_REVIEWED = "REVIEW_IN_PROGRESS"
# An instance with a hung shutdown takes EC2 minutes to end; CloudFormation waits as long for a balancer.
_WAIT_S_MAX = 900.0
# Some resources can be deleted only once others are gone, whose deletion takes EC2 a while.
_SWEEP_S_MAX = 60.0
_REGIONS_AT_ONCE = 8


@dataclass(frozen=True)
class Left:
    """A resource that is still there, and why.

    Args:
        found: The resource.
        reason: A sentence for the person who destroys.
    """

    found: Found
    reason: str


class Destroy:
    """Takes one deployment down.

    Args:
        account: The account and region of the deployment.
        name: The deployment's name, which is its stack's and its tag's value.
        waiting: Waits for AWS, and tells of the progress.
    """

    def __init__(self, account: Account, name: str, waiting: Waiting) -> None:
        self._account = account
        self._name = name
        self._waiting = waiting
        self._stack = Stack(account, name)
        self._reasons: dict[Found, str] = {}
        self._terminated: set[Found] = set()

    def look(self) -> list[Found]:
        """Return the stack and every resource that carries the deployment's tag.

        Raises:
            ConfigError: The stack of this name is not beholder's.
            BackendError: A service refuses a listing, or does not answer.
        """
        stack = [Found("stack", self._name)] if self._stack.status() else []
        return stack + [found for found in find_all(self._account, self._name) if found.is_ours]

    def run(self, *, delete_data: bool) -> list[Left]:
        """Take the deployment down and return what is left, the buckets with its data excepted.

        Args:
            delete_data: Whether images and results are deleted too; if not, their buckets stay.

        Raises:
            ConfigError: The stack of this name is not beholder's.
            DeployError: A change of the stack does not end.
            BackendError: A service refuses a listing or does not answer, so nothing is known about the rest.
        """
        kept = () if delete_data else self._data_buckets()
        self._await_change()  # refuses a stack of someone else before anything is deleted
        self._stop_web_tier()
        self._waiting.until("the instances have ended", self._have_instances_ended, most_s=_WAIT_S_MAX)
        self._delete_stack()
        self._sweep(kept)
        left = [found for found in find_all(self._account, self._name) if found.id not in kept]
        if status := self._stack.status():
            causes = "; ".join(self._stack.failures().values())
            left.insert(0, Found("stack", self._name))
            self._reasons[left[0]] = f"is {status}" + (f": {causes}" if causes else "")
        return [Left(found, self._reason(found)) for found in left]

    def _data_buckets(self) -> Sequence[str]:
        """Return the names of the buckets that hold images and results."""
        return [one for one in bucket_names(self._account, self._name) if not one.endswith("-bundles")]

    # --- resources ------------------------------------------------------------------------------------------

    def _found(self, kind_name: str) -> list[Found]:
        return [one for one in _kind(kind_name).find(self._account, self._name) if one.is_ours]

    def _stop_web_tier(self) -> None:
        """Let the web tier launch nothing more; the group itself goes with the stack.

        A stack whose group was deleted by hand can be deployed never again, because CloudFormation does not
        look for it; one whose group is empty can.
        """
        for found in self._found("Auto Scaling group"):
            try:
                self._account.call(
                    "autoscaling",
                    "update_auto_scaling_group",
                    AutoScalingGroupName=found.id,
                    MinSize=0,
                    DesiredCapacity=0,
                )
            except BackendError as exc:
                self._reasons[found] = exc.message
            else:
                self._waiting.tell(f"stopped the web tier {found.id}")

    def _have_instances_ended(self) -> bool:
        """Terminate what is there, each time: a web process launches workers until it has ended itself."""
        there = self._found("instance")
        for found in there:
            if found not in self._terminated:
                self._delete(_kind("instance"), found)
                self._terminated.add(found)
        return not there

    def _delete(self, kind: Kind, found: Found) -> None:
        try:
            kind.delete(self._account, found.id)
        except ResourceNotFound:
            pass
        except BackendError as exc:
            self._reasons[found] = exc.message
            return
        self._reasons.pop(found, None)
        self._waiting.tell(f"deleted {found.kind} {found.id}")

    def _sweep(self, kept: Sequence[str]) -> None:
        """Delete what carries the tag until nothing does, or a pass changes nothing any more."""
        before: set[Found] = set()

        def is_swept() -> bool:
            nonlocal before
            found = {one for one in find_all(self._account, self._name) if one.is_ours and one.id not in kept}
            if not found or found == before:
                return True
            before = found
            for kind in KINDS:
                for one in sorted(found):
                    if one.kind == kind.name:
                        self._delete(kind, one)
            return False

        self._waiting.until("all that the stack left is deleted", is_swept, most_s=_SWEEP_S_MAX)

    def _reason(self, found: Found) -> str:
        if not found.is_ours:
            return f"has a name of the deployment but not its tag {DEPLOYMENT_TAG}, so it was left alone"
        return self._reasons.get(found, "is being deleted; run the command again to see it gone")

    # --- the stack ------------------------------------------------------------------------------------------

    def _await_change(self) -> None:
        """Wait for a change under way: it would launch again, and CloudFormation deletes no such stack."""
        if not self._waiting.until(
            "the stack's change has ended", lambda: not _is_changing(self._stack.status()), most_s=_WAIT_S_MAX
        ):
            raise DeployError(f"the stack is still {self._stack.status()}; run the command again to go on")

    def _delete_stack(self) -> None:
        """Delete the stack; what it cannot delete is left to the sweep, after which its last bits go."""
        if not self._stack.status():
            return
        self._waiting.tell(f"deleting the stack {self._name}")
        self._begin_deletion(())
        if self._stack.status() == _UNDELETED:
            failures = self._stack.failures()
            for resource, reason in failures.items():
                self._waiting.tell(f"the stack could not delete {resource}: {reason}")
            self._begin_deletion([one for one in failures if one != self._name])

    def _begin_deletion(self, retained: Sequence[str]) -> None:
        self._stack.begin(lambda: self._stack.delete(retained), self._waiting)
        self._waiting.until(
            "the stack is deleted", lambda: self._stack.status() != _DELETING, most_s=_WAIT_S_MAX
        )


def _kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


def _is_changing(status: str) -> bool:
    return status.endswith("_IN_PROGRESS") and status not in {_DELETING, _REVIEWED}


def other_regions(account: Account, name: str) -> list[str]:
    """Return the other regions of the account in which a deployment of this name has a stack.

    Raises:
        BackendError: EC2 refuses to list the regions, or does not answer.
    """
    told = account.call("ec2", "describe_regions")["Regions"]
    regions = [one["RegionName"] for one in told if one["RegionName"] != account.region]
    with ThreadPoolExecutor(_REGIONS_AT_ONCE) as pool:
        found = pool.map(lambda region: _has_stack(Account(region), name), regions)
        return [region for region, has_stack in zip(regions, found, strict=True) if has_stack]


def _has_stack(account: Account, name: str) -> bool:
    try:
        return bool(Stack(account, name).status())
    except (BackendError, ConfigError):  # a region that refuses, or a stack of someone else
        return False
