"""The app tier: takes messages, recognises images, stores results, replies, and only then acknowledges."""

from beholder.worker.dead_letters import DeadLetterClerk
from beholder.worker.note import HoldingNote
from beholder.worker.ports import WorkerPorts
from beholder.worker.worker import Worker

__all__ = ["DeadLetterClerk", "HoldingNote", "Worker", "WorkerPorts"]
