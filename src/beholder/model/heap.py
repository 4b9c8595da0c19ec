"""Gives freed memory back to the system: a worker's resident size decides how many fit on an instance."""

import ctypes
import gc

__all__ = ["release_free_memory"]


def release_free_memory() -> None:
    """Collect garbage, and on glibc return the allocator's free memory.

    Loading a model frees tens of megabytes in small pieces, which glibc would keep.
    """
    gc.collect()
    # musl and macOS have no malloc_trim.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
