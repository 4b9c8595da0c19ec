"""The queue room: between the web tier, which sends jobs, and the workers, which receive them.

`Queue` is the port; `SqliteQueue` serves one machine, `SqsQueue` AWS, `MemoryQueue` tests.
"""

from beholder.queue.memory import MemoryQueue
from beholder.queue.port import Depth, Priority, Queue, Received
from beholder.queue.sqlite import SqliteQueue

__all__ = ["Depth", "MemoryQueue", "Priority", "Queue", "Received", "SqliteQueue"]
