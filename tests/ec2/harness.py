"""Makes an emulator's EC2 instances run: each new one becomes a guest that runs its user data.

EC2's part is played by polling DescribeInstances. What a guest does to itself becomes a call of the API (a
shutdown terminates or stops, as its launch said), and what the API does to an instance ends its guest.
Instances that are there before the harness are left alone: other tests made them. An instance that was
stopped and is started again stays without a guest. One that is launched from an image that CreateImage made
of a guest that had shut down has what that one wrote on its disk.
"""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from ec2.guest import Guest, GuestFailed, why_no_guests
from ec2.imds import MetadataService
from ec2.launches import Launches

_POLL_S = 0.4
_LIVE = ("pending", "running")


class End(StrEnum):
    """Why a guest is no more."""

    SHUT_DOWN = "it shut itself down"
    TERMINATED = "terminated through the API"
    STOPPED = "stopped through the API"
    INTERRUPTED = "a spot interruption"
    DIED = "its process 1 ended"
    FAILED = "it could not be booted"
    CLOSED = "the harness was closed"


class _Every:
    def __contains__(self, _: object) -> bool:
        return True


EVERY: Container[str] = _Every()


class Ec2Harness:
    """Boots the instances of an emulator from now on, in a thread of its own.

    Skips the test where no guest can be booted; where CI is set in the environment, it fails instead.

    Args:
        endpoint: Of the emulator whose instances boot, on 127.0.0.1; guests reach it at the same address.
        guest_env: Environment of the guests. They get `AWS_ENDPOINT_URL` in any case, and neither a region
            nor credentials, as on EC2: the latter come from the instance metadata.
        startup_failures: Share of instances, 0.0 to 1.0, whose user data never runs; they stay `running`.
            Failures are spread evenly, so that a few instances have their share too.
        covered: Folders of the host that are empty in every guest.
        services: Endpoint of another emulator, which guests call instead, and which has their roles.

    Attributes:
        startups: Ids of the instances that were started, in this order.
        failed_startups: Those of them whose user data never runs.
        ended: Why each guest that is no more has ended, by id.
        asked: What each guest asked for: 'shutdown', or 'poweroff' for a forced one.
        hang_shutdown: Ids for which a shutdown does nothing, so that only `poweroff -f` or the API ends
            them; may be set at any time, and to `EVERY`.
        hang_all: Ids for which even `poweroff -f` does nothing.
        folder: Where the harness keeps what it needs, until it is closed.
        faults: Calls of the API that failed; each is tried again at the next poll.
    """

    def __init__(
        self,
        endpoint: str,
        guest_env: Mapping[str, str] | None = None,
        startup_failures: float = 0.0,
        covered: Sequence[Path] = (),
        services: str = "",
    ) -> None:
        _need_guests()
        self.startups: list[str] = []
        self.failed_startups: list[str] = []
        self.ended: dict[str, End] = {}
        self.asked: dict[str, list[str]] = {}
        self.hang_shutdown: Container[str] = set()
        self.hang_all: Container[str] = set()
        self.faults: list[str] = []
        services = services or endpoint
        parts = urlsplit(services)
        self._emulator = (parts.hostname or "", parts.port or 80)
        self._environment = {"AWS_ENDPOINT_URL": services, **(guest_env or {})}
        self._startup_failures = startup_failures
        self._covered = covered
        self._guests: dict[str, Guest] = {}
        self._disks: dict[str, Path] = {}
        self._deadlines_s: dict[str, float] = {}
        self._ending: dict[str, End] = {}
        self._consoles: dict[str, str] = {}
        self._broken: BaseException | None = None
        self._polled = threading.Condition()
        self._closing = threading.Event()
        self._launches = Launches(endpoint, services)
        self._earlier = set(self._launches.described())
        self.folder = Path(tempfile.mkdtemp(prefix="ec2-"))
        self._thread = threading.Thread(target=self._run, name="ec2 harness", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def interrupt(self, instance_id: str, notice_s: float) -> None:
        """Play a spot reclaim: a rebalance is recommended, an interruption announced, and then it comes."""
        deadline_s = time.time() + notice_s
        self._guests[instance_id].metadata.interrupt(deadline_s)
        self._deadlines_s[instance_id] = deadline_s

    def console(self, instance_id: str) -> str:
        """Return what an instance printed so far; empty where it was never booted."""
        guest = self._guests.get(instance_id)
        return guest.console() if guest else self._consoles.get(instance_id, "")

    def is_alive(self, instance_id: str) -> bool:
        """Say whether the instance has a guest that runs."""
        guest = self._guests.get(instance_id)
        return guest is not None and guest.is_alive

    def namespace(self, instance_id: str) -> str:
        """Return the name of a living guest's process namespace, as /proc shows it for each process."""
        return self._guests[instance_id].namespace

    def network(self, instance_id: str) -> str:
        """Return the path of a living guest's network namespace."""
        return self._guests[instance_id].network

    def url(self, instance_id: str, port: int) -> str:
        """Return a URL by which a living guest's port is reached from outside."""
        host, outside = self._guests[instance_id].open_port(port)
        return f"http://{host}:{outside}"

    def wait_for(self, predicate: Callable[[], object], timeout_s: float) -> None:
        """Return as soon as something holds; it is asked again after each poll.

        Raises:
            AssertionError: It does not hold in time; the message tells how things stand.
        """
        with self._polled:
            holds = self._polled.wait_for(lambda: self._broken is not None or predicate(), timeout_s)
        if self._broken is not None:
            raise RuntimeError("the harness broke") from self._broken
        assert holds, f"not within {timeout_s} s; {self._standing()}"

    def close(self) -> None:
        """End every guest, and terminate its instance; nothing of them is left. A second call does nothing.

        Raises:
            RuntimeError: The harness broke before.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        try:
            for instance_id in list(self._guests):
                self._bury(instance_id, End.CLOSED)
                with contextlib.suppress(BotoCoreError, ClientError):
                    self._launches.terminate(instance_id)
        finally:
            self._launches.close()
            shutil.rmtree(self.folder)
        if self._broken is not None:
            raise RuntimeError("the harness broke") from self._broken

    def _run(self) -> None:
        while not self._closing.is_set() and self._broken is None:
            try:
                self._poll()
            except (BotoCoreError, ClientError) as exc:
                self.faults.append(str(exc))
            except Exception as exc:  # noqa: BLE001  # told by wait_for and close, in the test's thread
                self._broken = exc
            with self._polled:
                self._polled.notify_all()
            self._closing.wait(_POLL_S)

    def _poll(self) -> None:
        described = self._launches.described()
        states = {instance_id: str(one["State"]["Name"]) for instance_id, one in described.items()}
        for instance_id in list(self._guests):
            self._give_role(described.get(instance_id, {}))
            self._look_after(instance_id, states.get(instance_id, "terminated"))
        for instance_id, state in states.items():
            is_new = instance_id not in self._earlier and instance_id not in self.startups
            if is_new and state in _LIVE and not self._closing.is_set():
                self._boot(described[instance_id])

    def _boot(self, described: dict[str, Any]) -> None:
        instance = self._launches.instance(described)
        instance_id = instance.instance_id
        share, earlier = self._startup_failures, len(self.startups)
        fails = int((earlier + 1) * share) > int(earlier * share)
        folder = self.folder / instance_id
        folder.mkdir()
        guest = Guest(
            MetadataService(instance, self._launches.assume_role),
            folder,
            self._environment,
            self._emulator,
            b"" if fails else instance.user_data,
            self._covered,
            self._disk_of(instance.image_id),
        )
        with self._polled:
            self.startups.append(instance_id)
            self.asked[instance_id] = []
            if fails:
                self.failed_startups.append(instance_id)
            self._guests[instance_id] = guest
        try:
            guest.start()
        except GuestFailed as exc:
            self.faults.append(str(exc))
            self._finish(instance_id, End.FAILED)

    def _give_role(self, described: dict[str, Any]) -> None:
        """Tell a guest of the role that its instance got late: moto tells of an instance before it has it."""
        if "IamInstanceProfile" in described:
            metadata = self._guests[described["InstanceId"]].metadata
            if not metadata.instance.role_name:
                metadata.instance = self._launches.instance(described)

    def _disk_of(self, image_id: str) -> Path | None:
        """Return what an instance had on its disk from which an image was made; None for any other image."""
        return self._disks.get(self._launches.source_of(image_id)) if self._disks else None

    def _look_after(self, instance_id: str, state: str) -> None:
        end = self._ending.get(instance_id) or self._end_of(instance_id, state)
        if end is not None:
            self._finish(instance_id, end)

    def _end_of(self, instance_id: str, state: str) -> End | None:
        """Return why a guest has to end now, None where it may live on."""
        guest = self._guests[instance_id]
        requests = guest.requests()
        self.asked[instance_id] += requests
        if state not in _LIVE:
            return End.STOPPED if state in {"stopping", "stopped"} else End.TERMINATED
        if time.time() >= self._deadlines_s.get(instance_id, float("inf")):
            return End.INTERRUPTED
        if not guest.is_alive:
            return End.DIED
        return End.SHUT_DOWN if any(self._obeys(instance_id, one) for one in requests) else None

    def _obeys(self, instance_id: str, request: str) -> bool:
        if instance_id in self.hang_all:
            return False
        return request == "poweroff" or instance_id not in self.hang_shutdown

    def _finish(self, instance_id: str, end: End) -> None:
        """End a guest and then its instance; a failing API is tried again, for the same reason."""
        self._ending[instance_id] = end
        guest = self._guests[instance_id]
        by_itself = end in {End.SHUT_DOWN, End.DIED}
        stops = by_itself and guest.instance.shutdown_behavior != "terminate"
        if stops and guest.is_alive:
            self._disks[instance_id] = self.folder / f"disk-{instance_id}"
            guest.save_disk(self._disks[instance_id])
        guest.kill()
        if stops:
            self._launches.stop(instance_id)
        elif by_itself or end in {End.INTERRUPTED, End.FAILED}:
            self._launches.terminate(instance_id)
        self._bury(instance_id, end)

    def _bury(self, instance_id: str, end: End) -> None:
        guest = self._guests[instance_id]
        guest.kill()
        with self._polled:
            self._consoles[instance_id] = guest.console()
            self.ended[instance_id] = end
            del self._guests[instance_id]

    def _standing(self) -> str:
        lines = [f"started {self.startups}, failed startups {self.failed_startups}, ended {self.ended}"]
        lines += [f"asked {self.asked}, faults {self.faults}"]
        lines += [f"console of {instance_id}:\n{self.console(instance_id)}" for instance_id in self.startups]
        return "\n".join(lines)


def _need_guests() -> None:
    reason = why_no_guests()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
