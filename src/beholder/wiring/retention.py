"""Retention on one machine: its bounds from the settings, and what it works on."""

from beholder.clock import MonotonicClock, SystemClock
from beholder.config import DECLARED, Settings, to_text
from beholder.store.retention import Bounds, Retention, SteadyClock
from beholder.wiring.buckets import open_buckets

__all__ = ["bounds_of", "kept_sentence", "open_retention"]


def bounds_of(settings: Settings) -> Bounds:
    """Return what the settings keep."""
    return Bounds(settings.store.retention, settings.store.retention_bytes_max)


def kept_sentence(settings: Settings) -> str:
    """Return what a person is told at the start."""
    bounds, kept = bounds_of(settings), []
    if bounds.age_s_max is not None:
        kept.append(f"after {to_text(DECLARED['retention'], bounds.age_s_max)}")
    if bounds.bytes_max is not None:
        kept.append(f"beyond {to_text(DECLARED['retention_bytes_max'], bounds.bytes_max)}")
    if not kept:
        return "images and results are never deleted"
    return f"images and results are deleted {' and '.join(kept)}; BEHOLDER_RETENTION=forever keeps them"


def open_retention(settings: Settings) -> Retention | None:
    """Return what deletes beside the service; None where all is kept.

    Raises:
        BackendError: The buckets cannot be opened.
    """
    bounds = bounds_of(settings)
    if bounds == Bounds(None, None):
        return None
    images, results = open_buckets(settings, must_exist=True)
    elapsed = MonotonicClock()
    return Retention(
        images,
        results,
        bounds,
        SteadyClock(SystemClock(), elapsed),
        elapsed=elapsed,
        tidy=lambda before_s: images.tidy(before_s) + results.tidy(before_s),
    )
