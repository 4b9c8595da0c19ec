"""The buckets of one machine: folders in the data folder."""

from beholder.config import Settings
from beholder.store.folder import FolderStore

__all__ = ["open_buckets"]


def open_buckets(settings: Settings, *, must_exist: bool = False) -> tuple[FolderStore, FolderStore]:
    """Return the input and the output bucket.

    Args:
        settings: Of the deployment.
        must_exist: A missing bucket was lost, so it is not made.

    Raises:
        BackendError: They cannot be opened.
    """
    folder, fsync = settings.deployment.data_dir / "buckets", settings.store.durability == "power"
    images, results = (
        FolderStore(folder / name, fsync=fsync, must_exist=must_exist)
        for name in (settings.store.input_bucket, settings.store.output_bucket)
    )
    return images, results
