"""Every setting of beholder, with its default, its bounds and what it means."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Settings", "default_data_dir"]


def default_data_dir() -> Path:
    """Return the folder for data in the user's data directory.

    Source: XDG Base Directory Specification 0.8 ($XDG_DATA_HOME, by default ~/.local/share).
    """
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "beholder"


def _default_workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _setting(
    meaning: str,
    default: Any = None,
    *,
    factory: Any = None,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = {"meaning": meaning, "low": low, "high": high, "choices": choices}
    return (
        field(default_factory=factory, metadata=metadata)
        if factory
        else field(default=default, metadata=metadata)
    )


@dataclass(frozen=True)
class Settings:
    """The settings of a whole deployment; the fields' metadata says what each means and may be."""

    host: str = _setting("address that the web tier listens on", "127.0.0.1")
    port: int = _setting("TCP port of the web tier; 0 takes a free one", 8080, low=0, high=65535)
    data_dir: Path = _setting(
        "folder that holds the queue, the buckets and imported models", factory=default_data_dir
    )
    workers: int = _setting(
        "worker processes; one per core by default", factory=_default_workers, low=0, high=256
    )
    model: tuple[str, ...] = _setting(
        "models served, by name or folder; the first is the default", ("efficientnet-lite0",)
    )
    prefix: str = _setting("first part of bucket and queue names", "beholder")
    precision: str = _setting(
        "what the model computes in; auto takes bf16 where the CPU has it",
        "auto",
        choices=("auto", "fp32", "bf16"),
    )
    batch_max: int = _setting("images that a worker takes at once", 4, low=1, high=10)
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
    backlog_max: int = _setting(
        "waiting jobs beyond which new ones are refused with 503", 10_000, low=1, high=10_000_000
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
    drain_s: float = _setting("how long a stop waits for work in hand, in seconds", 20.0, low=0, high=3600)
    log_level: str = _setting(
        "least severe log lines written", "info", choices=("debug", "info", "warning", "error")
    )
    log_form: str = _setting("form of the log lines", "text", choices=("text", "json"))

    @property
    def input_queue(self) -> str:
        """Name of the input queue."""
        return f"{self.prefix}-input-queue"

    @property
    def dead_letter_queue(self) -> str:
        """Name of the queue for messages that were received too often."""
        return f"{self.prefix}-input-queue-dead"

    @property
    def output_queue(self) -> str:
        """First part of the names of the reply queues, one per web process."""
        return f"{self.prefix}-output-queue"

    @property
    def input_bucket(self) -> str:
        """Name of the bucket for images."""
        return f"{self.prefix}-input-bucket"

    @property
    def output_bucket(self) -> str:
        """Name of the bucket for results."""
        return f"{self.prefix}-output-bucket"
