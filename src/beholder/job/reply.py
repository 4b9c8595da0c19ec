"""The reply: a worker sends the outcomes of a batch to a web process in one message."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

__all__ = ["Reply", "bundled"]

# SQS allows 1 MiB, and allowed 256 KiB until 2025; a queue may still have that limit.
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_DOCUMENTS_BYTES_MAX = 200_000
_JOBS = b',"jobs":['
_CALL = re.compile(r"[a-z0-9-]{1,40}:[A-Za-z0-9]{1,80}")


@dataclass(frozen=True, slots=True)
class Reply:
    """Outcomes on their way to the web process that waits, with the worker's unreported calls.

    Args:
        documents: The documents of the jobs, as the output bucket has them.
        calls: How often the worker called AWS since its last reply, by `service:Operation`, and how often its
            shadow was compared, by `shadow:result`.
    """

    VERSION: ClassVar[int] = 1

    documents: tuple[bytes, ...]
    calls: Mapping[str, int] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the wire form: one JSON object whose last member contains the documents byte for byte.

        Their lengths come first, so that a reader can cut the documents out and parse each once.
        """
        head = {
            "v": self.VERSION,
            "calls": dict(self.calls),
            "sizes": [len(document) for document in self.documents],
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        return b"".join((text[:-1], _JOBS, b",".join(self.documents), b"]}"))

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Read the wire form; the documents in it are not parsed.

        Raises:
            ValueError: The body is not a reply, or is of another version.
        """
        # JSON escapes the quotes in a string, so these bytes cannot occur before the member that they begin.
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
    """Yield the documents in bundles of about 200 KB, which any queue accepts, in their order."""
    bundle: list[bytes] = []
    size_bytes = 0
    for document in documents:
        if bundle and size_bytes + len(document) > _DOCUMENTS_BYTES_MAX:
            yield tuple(bundle)
            bundle, size_bytes = [], 0
        bundle.append(document)
        size_bytes += len(document)
    if bundle:
        yield tuple(bundle)


def _cut(jobs: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        if not isinstance(size, int) or size < 0:
            raise TypeError(f"a size is {size!r:.80}")
        yield jobs[start : start + size]
        start += size + 1  # a comma
    if jobs[max(0, start - 1) :] != b"]}":
        raise ValueError("not a reply: its sizes are not those of its jobs")


def _checked(calls: Mapping[str, int]) -> Mapping[str, int]:
    """Refuse names of calls that would give the metrics an unbounded number of series."""
    for name, count in calls.items():
        if not _CALL.fullmatch(name) or not isinstance(count, int) or count < 0:
            raise ValueError(f"not a reply: calls has {name!r:.80}: {count!r:.80}")
    return calls
