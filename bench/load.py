"""The load of the benchmarks: wrk, which posts photos one after the other over a number of connections."""

import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from servers import HERE, Server

__all__ = ["Load", "photos_of", "wrk"]

UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Load:
    """What wrk measured: images in all and per second, and milliseconds of a request."""

    images: int
    images_per_s: float
    p50_ms: float
    p99_ms: float


def photos_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))


def wrk(server: Server, images: list[Path], connections: int, seconds: float) -> Load:
    """Post images for a time; every answer must be a 200."""
    environment = os.environ | {"BENCH_IMAGES": "\n".join(map(str, images)), "BENCH_PATH": server.path}
    environment["BENCH_FIELD"] = server.field
    command = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--timeout", "20s", "--latency"]
    command += ["-s", str(HERE / "post.lua"), server.url]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"{server.name} did not answer every request:\n{said}")
    return Load(
        images=int(_found(r"(\d+) requests in", said)[1]),
        images_per_s=float(_found(r"Requests/sec:\s+([\d.]+)", said)[1]),
        p50_ms=_ms(said, 50),
        p99_ms=_ms(said, 99),
    )


def _ms(said: str, percent: int) -> float:
    found = _found(rf"{percent}%\s+([\d.]+)(us|ms|s)", said)
    return float(found[1]) * UNITS_MS[found[2]]


def _found(pattern: str, said: str) -> re.Match[str]:
    found = re.search(pattern, said)
    assert found is not None, said
    return found
