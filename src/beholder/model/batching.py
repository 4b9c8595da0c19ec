"""Cuts a batch into runs of the shapes that were compiled ahead. Pure."""

from collections.abc import Sequence

__all__ = ["batch_sizes", "plan_runs"]

# In fp32 larger runs save nothing (EfficientNet-Lite0 on AVX2: 11.3 ms an image at 1, 11.6 at 4, 11.7 at 8),
# and each further shape takes 30 to 70 MB. In bf16 a run of 4 takes a third less time per image than a run of
# 1, and a run of 16 takes more than a run of 4.
_SIZES_BY_PRECISION = {"fp32": (1,), "bf16": (1, 4)}


def batch_sizes(precision: str, batch_max: int) -> tuple[int, ...]:
    """Return the batch sizes to compile, ascending; 1 is always among them.

    Args:
        precision: 'fp32' or 'bf16'.
        batch_max: The largest size, at least 1.
    """
    return tuple(size for size in _SIZES_BY_PRECISION[precision] if size <= batch_max)


def plan_runs(shapes: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> list[list[int]]:
    """Cut a batch into runs of one image shape and one compiled size each.

    Images of one shape follow each other, because a runtime prepares itself anew for every change of shape.
    The largest size that still fits comes first, so that no run is padded.

    Args:
        shapes: Of each image of the batch.
        sizes: The compiled batch sizes, with 1 among them.

    Returns:
        The positions of the images of each run; every position once.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(position)
    runs = []
    for group in groups.values():
        start = 0
        while start < len(group):
            size = max(size for size in sizes if size <= len(group) - start)
            runs.append(group[start : start + size])
            start += size
    return runs
