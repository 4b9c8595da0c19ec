"""Which requests are sent and when: pure, and the same for the same seed."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count, islice
from pathlib import Path
from urllib.parse import urlsplit

from beholder.client.images import IMAGE_TYPES
from beholder.errors import ConfigError

__all__ = ["Api", "Arrival", "LoadPlan", "Shot", "api_of", "images_in", "shots"]


class Api(StrEnum):
    """How an image is sent: as the classic clients' multipart form, or as the raw body of `/v1/classify`."""

    UPLOAD = "upload"
    V1 = "v1"


class Arrival(StrEnum):
    """How the requests of an open loop are spaced: evenly, or at random as independent clients would."""

    CONSTANT = "constant"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One run of the workload generator.

    Without `rate_per_s` the loop is closed: each of `concurrency` clients sends its next request as soon as
    its last one was answered. With it the loop is open: requests are due at times that do not depend on the
    service, and their latency counts from then.

    Args:
        url: Where to POST, such as http://127.0.0.1:8080/upload.
        images: The files to send, taken in this order and from the start again when they run out.
        api: How to send them; None to choose by the path of the URL.
        request_count: How many requests; None means one per image, or no bound if `duration_s` is set.
        concurrency: Clients of the closed loop. Sixteen keep a small service busy without a long queue.
        rate_per_s: Requests per second of the open loop.
        arrival: How the open loop's requests are spaced.
        in_flight_max: Requests of the open loop under way at once; more wait, and their wait counts.
        duration_s: After this time no request begins, and in the open loop none falls due.
        timeout_s: How long one request may take from its sending, retries and polling included.
        seed: Seed of the arrival times.
        is_503_retried: Whether a request is sent again after a 503, when Retry-After says so.
        key: API key that each request sends; empty for none. No report contains it.

    Raises:
        ConfigError: Values are out of their ranges; the error names all of them.
    """

    url: str
    images: tuple[Path, ...]
    api: Api | None = None
    request_count: int | None = None
    concurrency: int = 16
    rate_per_s: float | None = None
    arrival: Arrival = Arrival.POISSON
    in_flight_max: int = 512
    duration_s: float | None = None
    timeout_s: float = 120.0
    seed: int = 0
    is_503_retried: bool = False
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Check every value."""
        address = urlsplit(self.url)
        checks = {
            f"url must be http://HOST:PORT/PATH, not {self.url}": address.scheme in ("http", "https")
            and bool(address.hostname),
            "images must name at least one file": bool(self.images),
            "request_count must be 1 or more": self.request_count is None or self.request_count >= 1,
            "concurrency must be 1 or more": self.concurrency >= 1,
            "rate_per_s must be above 0": self.rate_per_s is None or self.rate_per_s > 0,
            "in_flight_max must be 1 or more": self.in_flight_max >= 1,
            "duration_s must be above 0": self.duration_s is None or self.duration_s > 0,
            "the API key must be printable ASCII without spaces": not self.key
            or (self.key.isascii() and self.key.isprintable() and " " not in self.key),
            "timeout_s must be above 0": self.timeout_s > 0,
        }
        if problems := [problem for problem, holds in checks.items() if not holds]:
            raise ConfigError(problems)

    @property
    def is_v1(self) -> bool:
        """Whether images are sent as raw bodies to the v1 API."""
        return (self.api or api_of(self.url)) is Api.V1

    @property
    def request_count_max(self) -> int | None:
        """The number of requests; None if only `duration_s` bounds it."""
        if self.request_count is None and self.duration_s is None:
            return len(self.images)
        return self.request_count

    @property
    def client_count(self) -> int:
        """How many clients send at once."""
        at_most = self.concurrency if self.rate_per_s is None else self.in_flight_max
        return min(at_most, self.request_count_max or at_most)


@dataclass(frozen=True, slots=True)
class Shot:
    """One request to come.

    Args:
        index: Its number in the run, from 0.
        image: The index of its image in the plan.
        due_s: When it is due, in seconds from the start; None means as soon as a client is free.
    """

    index: int
    image: int
    due_s: float | None


def shots(plan: LoadPlan) -> Iterator[Shot]:
    """Yield the requests of a plan in order; without an end if only a closed loop's duration bounds it."""
    for index, due_s in enumerate(islice(_due_times_s(plan), plan.request_count_max)):
        if due_s is not None and plan.duration_s is not None and due_s >= plan.duration_s:
            return
        yield Shot(index, index % len(plan.images), due_s)


def _due_times_s(plan: LoadPlan) -> Iterator[float | None]:
    if plan.rate_per_s is None:
        while True:
            yield None
    elif plan.arrival is Arrival.CONSTANT:
        for index in count():
            yield index / plan.rate_per_s
    else:
        gaps = random.Random(plan.seed)
        due_s = 0.0
        while True:
            due_s += gaps.expovariate(plan.rate_per_s)
            yield due_s


def api_of(url: str) -> Api:
    """Return the API that a URL's path belongs to."""
    return Api.V1 if urlsplit(url).path.startswith("/v1/") else Api.UPLOAD


def images_in(folder: Path) -> tuple[Path, ...]:
    """Return the image files of a folder, `test_2` before `test_10`.

    Raises:
        ConfigError: The folder cannot be read, or holds no image.
    """
    try:
        inside = list(folder.iterdir())
    except FileNotFoundError as exc:
        raise ConfigError(f"there is no folder {folder}; give a folder with images") from exc
    except NotADirectoryError as exc:
        raise ConfigError(f"{folder} is a file, not a folder; give {_folder_of(folder)}") from exc
    except OSError as exc:
        raise ConfigError(f"the folder {folder} cannot be read: {exc.strerror}; give another") from exc
    found = [path for path in inside if path.suffix.lower() in IMAGE_TYPES and path.is_file()]
    if not found:
        kinds = " ".join(IMAGE_TYPES)
        raise ConfigError(f"the folder {folder} holds no image; give one with files of these kinds: {kinds}")
    return tuple(sorted(found, key=lambda path: _natural(path.name)))


def _folder_of(file: Path) -> str:
    return (
        "the current folder, which contains it: ." if file.parent == Path() else f"its folder: {file.parent}"
    )


def _natural(name: str) -> list[tuple[str, int]]:
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(text, int(digits or 0)) for digits, text in parts]
