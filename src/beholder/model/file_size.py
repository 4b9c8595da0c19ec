"""Refuses a file that is too large for what it should be before it is read: a sparse one fills the memory."""

from pathlib import Path

from beholder.errors import ModelInvalid

__all__ = ["TEXT_BYTES_MAX", "WEIGHTS_BYTES_MAX", "check_size"]

# Of names and settings; ImageNet's 21,841 classes take 1 MB.
TEXT_BYTES_MAX = 16_000_000
# Of a checkpoint; the largest ResNet here has 0.5 GB, and training states of it three times that.
WEIGHTS_BYTES_MAX = 4_000_000_000


def check_size(path: Path, bytes_max: int) -> None:
    """Refuse a file that is too large.

    Raises:
        OSError: Its size cannot be read.
        ModelInvalid: It is larger.
    """
    size = path.stat().st_size
    if size > bytes_max:
        raise ModelInvalid(
            f"{path} has {size / 1e6:,.0f} MB, and {bytes_max / 1e6:,.0f} MB is the most that is read; give "
            "the model's own file"
        )
