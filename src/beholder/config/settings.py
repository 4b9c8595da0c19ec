"""Every setting of beholder, in groups by what it is for; bounds and meaning stand beside each default.

The limits of the web tier and of images, and what is launched on EC2, are declared where they are used.
"""

import math
import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from beholder.fleet.template import InstanceTemplate
from beholder.scaling.policy.limits import Aim, Limits
from beholder.setting import Setting
from beholder.web.limits import WebLimits

__all__ = [
    "AGE",
    "Deployment",
    "FleetSettings",
    "LogSettings",
    "MachineSettings",
    "QueueSettings",
    "Settings",
    "StoreSettings",
    "WebSettings",
    "WorkerSettings",
    "cores",
    "default_data_dir",
]

_POLICY = Limits()
_BYTES_UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3, "B": 1}
_DAY_S = 86_400.0
_NAME = Setting(is_auto=True)
AGE = Setting(1, 36_525 * _DAY_S, units={"d": _DAY_S, "h": 3_600.0, "m": 60.0, "s": 1.0})


def default_data_dir() -> Path:
    """Return the folder for data in the user's data directory.

    Source: XDG Base Directory Specification 0.8 ($XDG_DATA_HOME, by default ~/.local/share).
    """
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "beholder"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", text):
        raise ValueError("name a bucket, or a bucket and the beginning of keys as bucket/prefix")
    return text


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError(f"has {text!r}; write an address, or a network such as 10.0.0.0/16") from None


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where the deployment is, and what its parts are called."""

    backend: Annotated[
        str,
        "Where queues and buckets are: on this machine, or on SQS and S3.",
        Setting(choices=("local", "aws")),
    ] = "local"
    region: Annotated[str, "AWS region of the queues and buckets.", Setting()] = "us-east-1"
    stack: Annotated[
        str, "CloudFormation stack whose outputs set what is not set otherwise.", Setting(words={"none": ""})
    ] = ""
    prefix: Annotated[str, "First part of bucket and queue names, 27 characters at most.", Setting()] = (
        "beholder"
    )
    data_dir: Annotated[Path, "Folder that holds the queue, the buckets and imported models.", Setting()] = (
        field(default_factory=default_data_dir)
    )


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """How a web process listens."""

    host: Annotated[str, "Address that the web tier listens on.", Setting()] = "127.0.0.1"
    port: Annotated[int, "TCP port of the web tier; 0 takes a free one.", Setting(0, 65_535)] = 8080
    keys: Annotated[
        str,
        "Whether requests need an API key: on; off, and the web tier listens on this machine only; open: no "
        "request needs one, on any address.",
        Setting(choices=("off", "on", "open")),
    ] = "off"
    url_inputs: Annotated[
        str,
        "Whether requests may hold the address of an image instead of the image, which the web tier then "
        "fetches: off; https; http, which allows https and http.",
        Setting(choices=("off", "https", "http")),
    ] = "off"
    s3_inputs: Annotated[
        tuple[str, ...],
        "Buckets of S3, or beginnings of keys in them (bucket/prefix), whose objects requests may name "
        "instead of an image, commas between them.",
        Setting(words={"off": ()}, item=_bucket),
    ] = ()
    webhooks: Annotated[
        str,
        "Whether requests may name an address that the outcome is sent to: off; https; http, which allows "
        "https and http.",
        Setting(choices=("off", "https", "http")),
    ] = "off"
    webhook_secrets: Annotated[
        Path | None,
        "File with the secrets that sign webhooks, one whsec_… a line; each signs.",
        Setting(words={"none": None}),
    ] = None
    webhook_networks: Annotated[
        tuple[str, ...],
        "Private networks that webhooks may be sent to, commas between them; with any, on any port.",
        Setting(words={"none": ()}, item=_network),
    ] = ()
    shutdown_delay_s: Annotated[
        float,
        "How long a web process that is stopped serves on while /readyz answers 503, in seconds; 0 without a "
        "load balancer.",
        Setting(0, 3_600),
    ] = 0.0
    trusted_proxies: Annotated[
        tuple[str, ...],
        "Networks of the proxies whose X-Forwarded-For and -Proto count, commas between them.",
        Setting(words={"none": ()}, item=_network),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How a worker works, and when it leaves."""

    model: Annotated[
        tuple[str, ...],
        "Models served, by name, folder or s3://bucket/prefix; the first is the default.",
        Setting(),
    ] = ("efficientnet-lite0",)
    shadow: Annotated[
        str | None,
        "Model that workers also run on a share of the default's traffic, named likewise; its answers are "
        "compared and given to no caller.",
        Setting(words={"none": None}),
    ] = None
    shadow_share: Annotated[
        float, "Share of the requests without a model that the shadow is compared on.", Setting(0, 1)
    ] = 0.1
    precision: Annotated[
        str,
        "What the model computes in; auto takes bf16 where the CPU has it.",
        Setting(choices=("auto", "fp32", "bf16")),
    ] = "auto"
    batch_max: Annotated[
        int,
        "Images that a worker takes at once; auto is 4 on one machine and 20 on AWS.",
        Setting(1, 100, is_auto=True),
    ]
    consumers: Annotated[
        int,
        "Batches that a worker has in hand at once; auto is 1 on one machine and two per core on AWS.",
        Setting(1, 256, is_auto=True),
    ]
    hold_max_s: Annotated[
        float,
        "How long a worker may keep one message hidden before the work counts as hung, in seconds.",
        Setting(1, 43_200),
    ] = 600.0
    idle_s_max: Annotated[
        float | None,
        "How long a worker without work stays, in seconds; auto is for as long as that is cheaper than a "
        "startup, if a controller starts another worker.",
        Setting(0.1, _DAY_S, words={"auto": None, "never": math.inf}),
    ] = None
    leave_by: Annotated[
        str,
        "What a worker that leaves ends: its process, or the instance that it runs on.",
        Setting(choices=("exit", "shutdown")),
    ] = "exit"
    leave_on_rebalance: Annotated[
        str,
        "Whether a worker leaves at a rebalance recommendation of EC2: an interruption is likelier then.",
        Setting(choices=("off", "on")),
    ] = "off"
    heartbeat_s: Annotated[
        float, "A worker of a fleet gives a heartbeat this often, in seconds.", Setting(1, 3_600)
    ] = 60.0
    drain_s: Annotated[float, "How long a stop waits for work in hand, in seconds.", Setting(0, 3_600)] = 20.0


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """The queues, and how a message travels."""

    input_queue: Annotated[str, "Queue for jobs; auto is <prefix>-input-queue.", _NAME]
    dead_letter_queue: Annotated[
        str, "Queue for messages received too often; auto is <input queue>-dead.", _NAME
    ]
    output_queue: Annotated[
        str,
        "First part of the reply queues' names, one per web process; auto is <prefix>-output-queue.",
        _NAME,
    ]
    visibility_timeout_s: Annotated[
        float,
        "How long a received message stays hidden before another worker may take it, in seconds.",
        Setting(1, 43_200),
    ] = 30.0
    receive_count_max: Annotated[
        int, "Receives of a message before its job is given up.", Setting(1, 100)
    ] = 3
    depth_lag_s: Annotated[
        float, "How far SQS's counts of messages may lag behind, in seconds.", Setting(0, 900)
    ] = 65.0
    inline_bytes_max: Annotated[
        int,
        "Length of an image that travels inside its message on AWS, in bytes; larger ones are fetched.",
        Setting(0, 700_000),
    ] = 250_000


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """The buckets, and how long they keep what they hold."""

    input_bucket: Annotated[str, "Bucket for images; auto is <prefix>-input-bucket.", _NAME]
    output_bucket: Annotated[str, "Bucket for results; auto is <prefix>-output-bucket.", _NAME]
    encryption: Annotated[
        str | None,
        "How objects are encrypted on S3; auto leaves it to the bucket.",
        Setting(choices=("AES256", "aws:kms"), words={"auto": None}),
    ] = None
    kms_key: Annotated[
        str | None,
        "ARN of the key for encryption aws:kms; auto is the account's own.",
        Setting(words={"auto": None}),
    ] = None
    durability: Annotated[
        str,
        "What accepted images survive: any process's death, or a power cut too, waiting for the disk.",
        Setting(choices=("process", "power")),
    ] = "process"
    retention: Annotated[
        float | None,
        "How long images and outcomes of finished jobs are kept on one machine, such as 7d or 12h; forever "
        "keeps them. On S3 the buckets' lifecycle rules delete.",
        AGE._replace(words={"forever": None}),
    ] = 7 * _DAY_S
    retention_bytes_max: Annotated[
        int | None,
        "Beyond so many bytes of images and outcomes the oldest finished jobs are deleted, such as 10GB; "
        "forever is no bound.",
        Setting(0, 10**18, words={"forever": None}, units=_BYTES_UNITS),
    ] = None


@dataclass(frozen=True, kw_only=True)
class MachineSettings:
    """The worker processes that `beholder up` starts on one machine."""

    workers: Annotated[int, "Worker processes at most; one per core by default.", Setting(0, 256)] = field(
        default_factory=lambda: min(cores(), 256)
    )
    workers_min: Annotated[
        int,
        "Worker processes that `beholder up` always keeps; auto is two, or `workers` if that is less. With "
        "0 the first image after a pause waits for a startup.",
        Setting(0, 256, is_auto=True),
    ]
    workers_warm_min: Annotated[
        int,
        "Worker processes that `beholder up` keeps beyond those that the load needs.",
        Setting(0, 256),
    ] = 0

    @property
    def heavy_decodes_max(self) -> int:
        """Heavy images that one machine decodes at once, so that a core stays for light ones."""
        return max(1, min(self.workers, cores()) - 1)


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """How many instances there are on AWS, and what `beholder up` and AWS aim at."""

    template: InstanceTemplate = field(default_factory=InstanceTemplate)
    fleet_min: Annotated[int, "Instances that are always there.", Setting(0, 10_000)] = _POLICY.min
    fleet_max: Annotated[int, "Instances that are never exceeded.", Setting(0, 10_000)] = _POLICY.max
    fleet_warm_min: Annotated[int, "Instances kept beyond those that the load needs.", Setting(0, 10_000)] = (
        _POLICY.warm_min
    )
    latency_goal_s: Annotated[
        float,
        "Within this time 95 of 100 requests are to be answered, in seconds; auto is 0.25 on one machine,"
        " 30 on AWS. See `aim`.",
        Setting(0.001, _DAY_S, is_auto=True),
    ]
    aim: Annotated[
        str,
        "steady: the goal holds for all but growth that nobody could foresee by a startup;"
        " deadline: every request may take a startup and the goal, which is cheapest.",
        Setting(choices=tuple(Aim)),
    ] = _POLICY.aim.value
    budget_per_hour: Annotated[
        float | None,
        "Instances are not launched beyond this price of the fleet per hour, in the currency of prices.",
        Setting(0.001, 1_000_000, words={"none": None}),
    ] = _POLICY.budget_per_hour
    startup_s: Annotated[
        float,
        "Taken for the startup time of an instance until startups were seen, in seconds.",
        Setting(0.1, 3_600),
    ] = _POLICY.startup_s
    tick_s: Annotated[float, "Seconds between two looks at the fleet.", Setting(0.1, 300)] = _POLICY.tick_s
    silence_s_max: Annotated[
        float, "An instance that gave no heartbeat for this long is ended, in seconds.", Setting(1, _DAY_S)
    ] = _POLICY.silence_s_max


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """The log."""

    log_level: Annotated[
        str, "Least severe log lines written.", Setting(choices=("debug", "info", "warning", "error"))
    ] = "info"
    log_form: Annotated[str, "Form of the log lines.", Setting(choices=("text", "json"))] = "text"
    access_log: Annotated[
        str, "Log lines of requests: all, or only those answered with 5xx.", Setting(choices=("all", "5xx"))
    ] = "all"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a whole deployment; `config.resolve.make_settings` makes them."""

    deployment: Deployment
    web: WebSettings
    limits: WebLimits
    worker: WorkerSettings
    queue: QueueSettings
    store: StoreSettings
    machine: MachineSettings
    fleet: FleetSettings
    log: LogSettings
