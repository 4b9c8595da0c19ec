"""The reply: what a worker tells a web process, the outcomes of a batch in one message."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

__all__ = ["Reply", "bundled"]

# SQS takes 1 MiB, and took 256 KiB until 2025; a queue may still be set to that.
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_DOCUMENTS_BYTES_MAX = 200_000
_JOBS = b',"jobs":['
_CALL = re.compile(r"[a-z0-9-]{1,40}:[A-Za-z0-9]{1,80}")


@dataclass(frozen=True, slots=True)
class Reply:
    """Outcomes on their way to the web process that waits, and what the worker called since it last told.

    Args:
        documents: The jobs, each as it stands in the output bucket.
        calls: How often the worker called AWS since the reply before, by `service:Operation`.
    """

    VERSION: ClassVar[int] = 1

    documents: tuple[bytes, ...]
    calls: Mapping[str, int] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the wire form: one JSON object whose last member holds the documents byte for byte.

        Their lengths stand before them, so that a reader cuts them out and parses each once.
        """
        head = {"v": self.VERSION, "calls": dict(self.calls), "sizes": [len(one) for one in self.documents]}
        text = json.dumps(head, separators=(",", ":")).encode()
        return b"".join((text[:-1], _JOBS, b",".join(self.documents), b"]}"))

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Read the wire form; the documents in it are not looked into.

        Raises:
            ValueError: It is no reply, or one of another version.
        """
        # JSON escapes the quotes of any text, so these bytes cannot stand in what comes before them.
        head, mark, jobs = body.partition(_JOBS)
        try:
            known = json.loads(head + b"}") if mark else json.loads(body)
            version = known["v"]
            if version != cls.VERSION:
                raise ValueError(f"reply version {version!r:.80} is not {cls.VERSION}")
            return cls(tuple(_cut(jobs, known["sizes"])), _checked(known["calls"]))
        except (KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise ValueError(f"not a reply: {type(exc).__name__}: {exc}") from exc


def bundled(documents: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Yield documents in as few bundles as a queue takes, about 200 KB each, in their order."""
    bundle: list[bytes] = []
    size_bytes = 0
    for one in documents:
        if bundle and size_bytes + len(one) > _DOCUMENTS_BYTES_MAX:
            yield tuple(bundle)
            bundle, size_bytes = [], 0
        bundle.append(one)
        size_bytes += len(one)
    if bundle:
        yield tuple(bundle)


def _cut(jobs: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        if not isinstance(size, int) or size < 0:
            raise TypeError(f"a size is {size!r:.80}")
        yield jobs[at : at + size]
        at += size + 1  # a comma
    if jobs[max(0, at - 1) :] != b"]}":
        raise ValueError("not a reply: its sizes are not those of its jobs")


def _checked(calls: Mapping[str, int]) -> Mapping[str, int]:
    """Refuse what would make series without end of garbage."""
    for name, count in calls.items():
        if not _CALL.fullmatch(name) or not isinstance(count, int) or count < 0:
            raise ValueError(f"not a reply: calls has {name!r:.80}: {count!r:.80}")
    return calls
