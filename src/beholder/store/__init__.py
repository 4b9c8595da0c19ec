"""The store room: where images wait for their worker, and where results are kept.

`Store` is the port; `FolderStore` serves one machine, `MemoryStore` tests and simulation. `keys` says what
lies where.
"""

from beholder.store.folder import FolderStore
from beholder.store.memory import MemoryStore
from beholder.store.port import ObjectInfo, Store

__all__ = ["FolderStore", "MemoryStore", "ObjectInfo", "Store"]
