"""Every setting of beholder, with its default, its bounds and what it means."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["AUTO", "NEVER", "Settings", "default_data_dir", "make_settings"]

AUTO = "auto"
"""Leaves a value to beholder."""
NEVER = "never"
"""Of a time: it never passes."""


def default_data_dir() -> Path:
    """Return the folder for data in the user's data directory.

    Source: XDG Base Directory Specification 0.8 ($XDG_DATA_HOME, by default ~/.local/share).
    """
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "beholder"


def _default_workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# The default depends on the backend, the prefix or another name; `make_settings` knows it.
_FOLLOWS = object()


def _setting(
    meaning: str,
    default: Any = None,
    *,
    factory: Any = None,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
) -> Any:
    metadata = {"meaning": meaning, "low": low, "high": high, "choices": choices, "words": words}
    if default is _FOLLOWS:
        return field(metadata=metadata)
    return (
        field(default_factory=factory, metadata=metadata)
        if factory
        else field(default=default, metadata=metadata)
    )


_DEFAULTS_OF_BACKEND: dict[str, dict[str, Any]] = {
    "local": {"batch_max": 4, "consumers": 1, "latency_goal_s": 0.25},
    "aws": {"batch_max": 20, "consumers": 2 * _default_workers(), "latency_goal_s": 30.0},
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a whole deployment; the fields' metadata says what each means and may be.

    `make_settings` fills in the defaults that depend on other settings.
    """

    host: str = _setting("address that the web tier listens on", "127.0.0.1")
    port: int = _setting("TCP port of the web tier; 0 takes a free one", 8080, low=0, high=65535)
    keys: str = _setting(
        "whether requests need an API key: on; off, and the web tier listens on this machine only; open: no "
        "request needs one, on any address",
        "off",
        choices=("off", "on", "open"),
    )
    data_dir: Path = _setting(
        "folder that holds the queue, the buckets and imported models", factory=default_data_dir
    )
    workers: int = _setting(
        "worker processes at most; one per core by default", factory=_default_workers, low=0, high=256
    )
    workers_min: int = _setting(
        "worker processes that `beholder up` always keeps; as many as `workers` for a fixed number",
        0,
        low=0,
        high=256,
    )
    model: tuple[str, ...] = _setting(
        "models served, by name or folder; the first is the default", ("efficientnet-lite0",)
    )
    backend: str = _setting(
        "where queues and buckets are: on this machine, or SQS and S3", "local", choices=("local", "aws")
    )
    region: str = _setting("AWS region of the queues and buckets", "us-east-1")
    stack: str = _setting("CloudFormation stack whose outputs set what is not set otherwise", "")
    prefix: str = _setting("first part of bucket and queue names", "beholder")
    input_bucket: str = _setting("bucket for images; auto for <prefix>-input-bucket", _FOLLOWS, words=(AUTO,))
    output_bucket: str = _setting(
        "bucket for results; auto for <prefix>-output-bucket", _FOLLOWS, words=(AUTO,)
    )
    input_queue: str = _setting("queue for jobs; auto for <prefix>-input-queue", _FOLLOWS, words=(AUTO,))
    dead_letter_queue: str = _setting(
        "queue for messages received too often; auto for <input queue>-dead", _FOLLOWS, words=(AUTO,)
    )
    output_queue: str = _setting(
        "first part of the reply queues' names, one per web process; auto for <prefix>-output-queue",
        _FOLLOWS,
        words=(AUTO,),
    )
    precision: str = _setting(
        "what the model computes in; auto takes bf16 where the CPU has it",
        "auto",
        choices=("auto", "fp32", "bf16"),
    )
    batch_max: int = _setting(
        "images that a worker takes at once; auto for 4 on one machine, 20 on AWS",
        _FOLLOWS,
        low=1,
        high=100,
        words=(AUTO,),
    )
    encryption: str = _setting(
        "how objects are encrypted on S3; empty leaves it to the bucket",
        "",
        choices=("", "AES256", "aws:kms"),
    )
    kms_key: str = _setting("ARN of the key for encryption aws:kms; empty for the account's own", "")
    consumers: int = _setting(
        "batches that a worker has in hand at once; auto for 1 on one machine, two per core on AWS",
        _FOLLOWS,
        low=1,
        high=256,
        words=(AUTO,),
    )
    inline_bytes_max: int = _setting(
        "length of an image that rides inside its message on AWS, in bytes; larger ones are fetched",
        250_000,
        low=0,
        high=700_000,
    )
    workers_warm_min: int = _setting(
        "worker processes that `beholder up` keeps beyond those that the load needs", 0, low=0, high=256
    )
    idle_s_max: float | None = _setting(
        "how long a worker without work stays, in seconds; never for a worker that never leaves; auto for as "
        "long as that is cheaper than a startup, if a controller starts another",
        low=0.1,
        high=86_400,
        words=(AUTO, NEVER),
    )
    depth_lag_s: float = _setting(
        "how far SQS's counts of messages may lag behind, in seconds",
        65.0,
        low=0,
        high=900,
    )
    leave_by: str = _setting(
        "what a worker that leaves ends: its process, or the instance it runs on",
        "exit",
        choices=("exit", "shutdown"),
    )
    leave_on_rebalance: str = _setting(
        "whether a worker leaves when EC2 recommends to rebalance: an interruption is likelier then, no more",
        "off",
        choices=("off", "on"),
    )
    fleet_min: int = _setting("instances that are always there", 0, low=0, high=10_000)
    fleet_max: int = _setting("instances that are never exceeded", 20, low=0, high=10_000)
    fleet_warm_min: int = _setting("instances kept beyond those that the load needs", 0, low=0, high=10_000)
    latency_goal_s: float = _setting(
        "how long a request may take beyond a startup, in seconds; auto for 0.25 on one machine, 30 on AWS",
        _FOLLOWS,
        low=0.001,
        high=86_400,
        words=(AUTO,),
    )
    budget_per_hour: float = _setting(
        "the fleet's price per hour, in the currency of prices, is not launched beyond this; 0 for no cap",
        0.0,
        low=0,
        high=1_000_000,
    )
    startup_s: float = _setting(
        "taken for the startup time of an instance until startups were seen, in seconds",
        200.0,
        low=0.1,
        high=3600,
    )
    tick_s: float = _setting("seconds between two looks at the fleet", 5.0, low=0.1, high=300)
    heartbeat_s: float = _setting(
        "a worker of a fleet gives a heartbeat this often, in seconds", 60.0, low=1, high=3600
    )
    silence_s_max: float = _setting(
        "an instance that gave no heartbeat for this long is ended, in seconds", 180.0, low=1, high=86_400
    )
    launch_template: str = _setting(
        "EC2 launch template of the workers, by name or id; web processes then scale the fleet", ""
    )
    launch_template_version: str = _setting("version of the launch template", "$Default")
    instance_types: str = _setting(
        "types that a worker's instance may have, commas between; empty for the template's", ""
    )
    subnets: str = _setting("subnets of the workers, commas between; empty for the template's", "")
    on_demand_share: float = _setting("share of instances that are not spot", 0.0, low=0, high=1)
    prices: str = _setting(
        "dollars per hour of instance types, such as c7a.large=0.10,c7a.large/spot=0.04", ""
    )
    visibility_timeout_s: float = _setting(
        "how long a received message stays hidden before another worker may take it, in seconds",
        30.0,
        low=1,
        high=43200,
    )
    hold_max_s: float = _setting(
        "how long a worker may keep one message hidden before the work counts as hung, in seconds",
        600.0,
        low=1,
        high=43200,
    )
    receive_count_max: int = _setting("receives of a message before it is given up", 3, low=1, high=100)
    wait_s_default: float = _setting(
        "how long a request waits for its answer when it does not say, in seconds", 60.0, low=0, high=600
    )
    wait_s_max: float = _setting("longest wait that a request may ask for, in seconds", 60.0, low=0, high=600)
    keep_alive_s: float = _setting(
        "how long a connection stays open between two requests, in seconds; more than a balancer's",
        75.0,
        low=1,
        high=3600,
    )
    shutdown_delay_s: float = _setting(
        "how long a web process that is stopped serves on while /readyz answers 503, in seconds; 0 without a "
        "load balancer",
        0.0,
        low=0,
        high=3600,
    )
    trusted_proxies: str = _setting(
        "networks of the proxies whose X-Forwarded-For and -Proto count, commas between them; empty for none",
        "",
    )
    backlog_max: int = _setting(
        "waiting jobs beyond which new ones are refused with 503", 10_000, low=1, high=10_000_000
    )
    asynchronous_share: float = _setting(
        "share of backlog_max and of uploads_bytes_max that asynchronous jobs may fill",
        0.75,
        low=0.01,
        high=1,
    )
    heavy_pixels_min: int = _setting(
        "pixels from which an image is heavy, a JPEG's counting a quarter; one core is kept free of them",
        16_000_000,
        low=1,
        high=1_000_000_000,
    )
    waiters_max: int = _setting("requests that may wait for their answer at once", 4_096, low=1, high=100_000)
    uploads_bytes_max: int = _setting(
        "bytes of uploads held in memory at once", 256_000_000, low=1_000_000, high=100_000_000_000
    )
    image_bytes_max: int = _setting(
        "length of an image file, in bytes", 20_000_000, low=1, high=1_000_000_000
    )
    image_pixels_max: int = _setting("pixels of an image", 64_000_000, low=1, high=1_000_000_000)
    image_side_max: int = _setting("longer side of an image, in pixels", 32_768, low=1, high=65_535)
    image_side_min: int = _setting("shorter side of an image, in pixels", 8, low=1, high=65_535)
    durability: str = _setting(
        "what accepted images survive: any process's death, or a power cut too, waiting for the disk",
        "process",
        choices=("process", "power"),
    )
    retention: str = _setting(
        "how long images and outcomes of finished jobs are kept on one machine, such as 7d or 12h; forever "
        "keeps them. On S3 the buckets' lifecycle rules delete",
        "7d",
    )
    retention_bytes_max: str = _setting(
        "beyond so many bytes of images and outcomes the oldest finished jobs are deleted, such as 10GB; "
        "forever for no bound",
        "forever",
    )
    drain_s: float = _setting("how long a stop waits for work in hand, in seconds", 20.0, low=0, high=3600)
    log_level: str = _setting(
        "least severe log lines written", "info", choices=("debug", "info", "warning", "error")
    )
    log_form: str = _setting("form of the log lines", "text", choices=("text", "json"))
    access_log: str = _setting(
        "log lines of requests: all, or only those answered with 5xx", "all", choices=("all", "5xx")
    )

    @property
    def heavy_decodes_max(self) -> int:
        """Heavy images that one machine decodes at once, so that a core stays for light ones."""
        return max(1, min(self.workers, _default_workers()) - 1)


def make_settings(**given: Any) -> Settings:
    """Return settings with the values that are given, and with the default of every other setting."""
    prefix = given.get("prefix", Settings.prefix)
    queue = given.get("input_queue", f"{prefix}-input-queue")
    follows = {
        "input_bucket": f"{prefix}-input-bucket",
        "output_bucket": f"{prefix}-output-bucket",
        "input_queue": queue,
        "dead_letter_queue": f"{queue.rpartition('/')[2]}-dead",
        "output_queue": f"{prefix}-output-queue",
        **_DEFAULTS_OF_BACKEND[given.get("backend", Settings.backend)],
    }
    return Settings(**follows | given)
