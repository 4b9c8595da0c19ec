"""Give freed memory back to the system: a worker's resident size decides how many fit on an instance."""

import ctypes
import gc

__all__ = ["release_free_memory"]


def release_free_memory() -> None:
    """Collect garbage and return what the allocator holds free; without glibc only the first.

    Loading a model frees tens of megabytes in small pieces, which glibc keeps for later; a worker that has
    loaded its model has no use for them.
    """
    gc.collect()
    # musl and macOS have no malloc_trim.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
