"""The profile of AWS: buckets on S3, queues on SQS, and workers on EC2."""

import importlib.util
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Self, cast

from beholder.clock import SystemClock
from beholder.config import Settings, value_of
from beholder.draining.protocol import DrainLimits
from beholder.errors import BackendDenied, ConfigError, ObjectNotFound
from beholder.store.port import Store
from beholder.store.s3 import S3Store
from beholder.store.s3_reader import S3Reader
from beholder.telemetry.log import log_event
from beholder.wiring.backends import Backends, OwnReplies, Pace, PerImage, Scaling
from beholder.wiring.locks import make_processes_folder
from beholder.wiring.profile import Profile

if TYPE_CHECKING:
    from beholder.queue.sqs_replies import OwnReplyQueue
    from beholder.telemetry.metrics import Telemetry
    from beholder.web.submission.direct_uploads import Presign

__all__ = ["aws_profile", "open_bucket", "open_reader"]

_log = logging.getLogger(__name__)

# No object has it; to ask for it costs a twelfth of a listing.
_NO_KEY = "readyz"
# SQS ends a poll after so long.
_POLL_S_MAX = 20.0
# A put takes tens of milliseconds and no work of ours, so many run at once.
_CALLS_AT_ONCE = 32
# Few, so that images which come together are sent together: a send costs as much as a put does in time.
_ACCEPT_THREADS = 4
_GATHER_S = 0.005
# What a message takes besides its image: names and options.
_MESSAGE_BYTES = 4_096
# How long a worker process takes that runs elsewhere and has nothing else to do.
_RUNNING_WORKER_S = 0.8
_PACE = Pace(
    depth_every_s=5.0,
    # Load balancers ask often, and so may every client.
    ready_every_s=10.0,
    # An empty long poll of 20 s is 130,000 calls a month, and one of 1 s is 2.6 million.
    receive_wait_s=20.0,
    # Anything above 0 asks all servers of the queue, and that is what it is for.
    final_poll_s=1.0,
    # A PUT.
    announce_every_s=30.0,
    # A LIST.
    peers_every_s=30.0,
    # A LIST, too.
    cancellations_every_s=30.0,
)


def aws_profile(settings: Settings) -> Profile:
    """Return the profile of AWS; nothing is created in the account but reply queues and instances."""
    return Profile(
        settings,
        is_one_machine=False,
        # S3 sends an event for each object that is put there.
        event_bucket=settings.store.input_bucket,
        first_job_s=settings.fleet.startup_s
        if settings.fleet.template.launch_template
        else _RUNNING_WORKER_S,
        open_backends=partial(_open_aws, settings),
        open_scaling=partial(_open_scaling, settings),
        # SQS keeps its queues sound.
        check_queue=lambda: None,
        # A person or the stack makes them.
        make_buckets=lambda: None,
        is_queue_damaged=lambda: False,
        # The buckets' lifecycle rules delete.
        open_retention=lambda: None,
    )


def open_bucket(name: str, region: str) -> Store:
    """Return a bucket by its name, for the commands on a deployment, which have no settings.

    Raises:
        ConfigError: AWS_PROFILE names no profile.
    """
    return S3Store(name, region=region, environ=os.environ)


def open_reader(region: str, *, timeout_s: float, retries_max: int = 1) -> S3Reader:
    """Return what reads objects of buckets that are not the deployment's.

    Args:
        region: The region of the buckets.
        timeout_s: For one attempt at a request.
        retries_max: Further attempts.
    """
    return S3Reader(region=region, timeout_s=timeout_s, environ=os.environ, retries_max=retries_max)


def _open_scaling(
    settings: Settings, backends: Backends, name: str, telemetry: "Telemetry"
) -> AbstractContextManager[Scaling]:
    if not settings.fleet.template.launch_template:
        return nullcontext(Scaling())
    from beholder.wiring.fleet_aws import open_scaling  # noqa: PLC0415

    return open_scaling(settings, backends, name, telemetry)


@contextmanager
def _open_aws(settings: Settings, name: str) -> Iterator[Backends]:
    make_processes_folder(settings.deployment.data_dir)
    if importlib.util.find_spec("boto3") is None:
        raise ConfigError("backend 'aws' needs boto3; run: pip install boto3")
    with _Account(settings, name) as account:
        account.check()
        room = account.queue.body_bytes_max - _MESSAGE_BYTES
        yield Backends(
            queue=account.queue,
            dead_letters=account.dead_letters,
            images=account.images,
            results=account.results,
            replies=account.replies,
            own_replies=account.own_replies,
            clock=account.clock,
            per_image=PerImage(
                map_items=account.pool.map,
                submit_threads=_ACCEPT_THREADS,
                submit_batch_max=10,
                submit_gather_s=_GATHER_S,
                inline_bytes_max=max(0, min(settings.queue.inline_bytes_max, room)),
            ),
            pace=replace(_PACE, drain=DrainLimits(lag_s=settings.queue.depth_lag_s)),
            interrupt=account.interrupt,
            presign=_presign_of(settings),
            calls=account.calls,
        )


def _presign_of(settings: Settings) -> "Presign":
    from beholder.aws.presigned import PresignedPuts  # noqa: PLC0415 -- boto3 is an optional extra

    store = settings.store
    region = settings.deployment.region
    return PresignedPuts(
        store.input_bucket, region=region, encryption=store.encryption, kms_key=store.kms_key
    ).sign


class _Account:
    """What one process opens in the account."""

    def __init__(self, settings: Settings, name: str) -> None:
        from beholder.queue.sqs import SqsQueue  # noqa: PLC0415 -- boto3 is an optional extra
        from beholder.queue.sqs_client import SqsClient  # noqa: PLC0415
        from beholder.queue.sqs_replies import ReplyQueues  # noqa: PLC0415

        self._settings = settings
        self._own: OwnReplyQueue | None = None
        self._name = name
        self.clock = SystemClock()
        self.client = SqsClient(region=settings.deployment.region)

        def queue_of(queue_name: str) -> SqsQueue:
            # So many clients of one web process do not keep those of another waiting.
            return SqsQueue(queue_name, client=self.client, group_of=lambda _: self._group())

        self.queue = queue_of(settings.queue.input_queue)
        self.dead_letters = queue_of(settings.queue.dead_letter_queue)
        self.replies = ReplyQueues(self.client)
        self.images = self._bucket(settings.store.input_bucket)
        self.results = self._bucket(settings.store.output_bucket)
        self.pool = ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="aws")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()
        if self.queue.open_polls:
            # What they still receive is handed back; without us it would stay hidden.
            wait_s = min(self._settings.worker.drain_s, _POLL_S_MAX + 1)
            log_event(_log, logging.INFO, "worker.polls", "waiting for open polls", at_most_s=wait_s)
            self.queue.close(wait_s=wait_s)
        self.pool.shutdown()
        self.client.close()

    @contextmanager
    def own_replies(self, owner: str) -> Iterator[OwnReplies]:
        from beholder.queue.sqs_replies import OwnReplyQueue  # noqa: PLC0415
        from beholder.web.submission.reply_sources import PolledReplies  # noqa: PLC0415

        with OwnReplyQueue(
            self.client,
            deployment=self._settings.deployment.prefix,
            prefix=self._settings.queue.output_queue,
            owner=owner,
            clock=self.clock,
        ) as own:
            self._own = own
            ticks = {"reply_heartbeat": own.heartbeat_tick, "idle_queue_sweeper": own.sweeper_tick}
            source = PolledReplies(own, wait_s=_PACE.receive_wait_s)
            yield OwnReplies(source, lambda: own.name, ticks)

    def check(self) -> None:
        """Raise ConfigError for all that is missing or refuses us; a later surprise would be a worse one."""
        settings, region = self._settings, self._settings.deployment.region
        problems = []

        def ask(setting: str, question: Callable[[], object]) -> None:
            try:
                question()
            except ObjectNotFound:
                return
            except BackendDenied as exc:
                problems.append(f"{setting} {value_of(settings, setting)!r} in {region}: {exc.message}")

        ask("input_queue", self._check_redrive)
        ask("dead_letter_queue", self.dead_letters.depth)
        ask("input_bucket", lambda: self.images.get(_NO_KEY))
        ask("output_bucket", lambda: self.results.get(_NO_KEY))
        if problems:
            raise ConfigError(problems, may_pass=True)

    def _check_redrive(self) -> None:
        found = self.queue.redrive()
        settings = self._settings
        expected = (settings.queue.dead_letter_queue.rpartition("/")[2], settings.queue.receive_count_max)
        if found != expected:
            log_event(
                _log,
                logging.WARNING,
                "queue.redrive",
                "the input queue's redrive policy is another than the settings say, and it is what counts",
                policy=found,
                settings=expected,
            )

    def _bucket(self, name: str) -> S3Store:
        settings = self._settings
        return S3Store(
            name,
            region=settings.deployment.region,
            encryption=cast("Literal['AES256', 'aws:kms'] | None", settings.store.encryption),
            kms_key=settings.store.kms_key,
            environ=os.environ,
        )

    def _group(self) -> str | None:
        """Return the group of what this process sends: its own reply queue's name, which is unique."""
        return self._own.name if self._own is not None else self._name or None

    def interrupt(self) -> None:
        self.queue.interrupt()
        self.dead_letters.interrupt()
        if self._own is not None:
            self._own.interrupt()

    def calls(self) -> Mapping[str, int]:
        total = Counter({f"sqs:{name}": count for name, count in self.client.calls.items()})
        for store in (self.images, self.results):
            total.update({f"s3:{name}": count for name, count in store.calls.items()})
        return total
