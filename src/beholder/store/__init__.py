"""The store room: where images wait for their worker, and where results are kept.

`Store` is the port; `FolderStore` serves one machine, `S3Store` AWS, `MemoryStore` tests.
`keys` holds every key.
"""

from beholder.store.folder import FolderStore
from beholder.store.memory import MemoryStore
from beholder.store.port import ObjectInfo, Store

__all__ = ["FolderStore", "MemoryStore", "ObjectInfo", "Store"]
