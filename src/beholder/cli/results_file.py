"""The results of `beholder classify` as text, and the file that a stopped run is resumed from."""

import contextlib
import csv
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beholder.errors import ConfigError

if TYPE_CHECKING:  # its package imports httpx2, which `beholder --help` does not need
    from beholder.client import FileResult

__all__ = ["CSV_HEAD", "csv_rows", "json_line", "resumed"]

CSV_HEAD = "file,rank,name,index,confidence,error"


def json_line(result: "FileResult") -> str:
    """Return a result as a JSON object on one line."""
    document: dict[str, Any] = {"file": result.file}
    if result.error is not None:
        document["error"] = {"code": result.error.code, "detail": result.error.message}
    else:
        document["labels"] = [
            {"name": one.name, "index": one.index, "confidence": one.confidence} for one in result.labels
        ]
    return json.dumps(document, ensure_ascii=False)


def csv_rows(result: "FileResult") -> str:
    """Return a result as rows of CSV: a row for each label, or one for the error or for no label at all."""
    if not result.labels:
        return _csv_row(result.file, "", "", "", "", result.error.code if result.error else "")
    return "\n".join(
        _csv_row(result.file, rank, one.name, one.index, one.confidence, "")
        for rank, one in enumerate(result.labels, 1)
    )


def _csv_row(*fields: str | float) -> str:
    text = io.StringIO()
    # It quotes a name with a line break if that is part of what ends a row.
    csv.writer(text, lineterminator="\r\n").writerow(fields)
    return text.getvalue().removesuffix("\r\n")


@contextlib.contextmanager
def resumed(
    path: Path, asked: Mapping[str, Any]
) -> Iterator[tuple[dict[str, bool], Callable[["FileResult"], None]]]:
    """Open a file of results, which an earlier run may have begun.

    Each result is written at once, so that a run that is killed loses the images in progress alone. What such
    a run has left unfinished at the end of the file is removed, and counts as no result.

    Args:
        path: A file of JSON lines (.jsonl, .ndjson) or CSV (.csv); it need not exist.
        asked: What the results depend on, by the names of the options. It is kept beside the file, so that
            no run goes on with other options.

    Yields:
        The images that the file has results of, each with whether it failed, and what appends a result.

    Raises:
        ConfigError: The suffix is none of these, or the file is not what a run has written, or it cannot be
            read or written, or another run writes it, or it was begun with other options.
    """
    suffix = path.suffix.lower()
    if suffix not in {".jsonl", ".ndjson", ".csv"}:
        raise ConfigError(f"{path} must end with .jsonl, .ndjson or .csv, which says what is written")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is no file")
    scan, form = (_scan_csv, csv_rows) if suffix == ".csv" else (_scan_json, json_line)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("ab", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with path.open("rb") as lines:
                done, end = scan(lines)
            _check_same(path.with_name(f"{path.name}.options"), asked, is_begun=bool(done))
            file.truncate(end)
            if suffix == ".csv" and not end:
                file.write(f"{CSV_HEAD}\n".encode())
        except BlockingIOError as exc:
            raise ConfigError(f"another run writes {path}; one goes on with it at a time") from exc
        except OSError as exc:
            raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc
        except (ValueError, LookupError, TypeError, csv.Error) as exc:
            raise ConfigError(f"{path} holds something else than results of `beholder classify`") from exc

        def append(result: "FileResult") -> None:
            data = memoryview(os.fsencode(f"{form(result)}\n"))
            try:
                while data:
                    data = data[file.write(data) :]
            except OSError as exc:
                raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc

        yield done, append


def _check_same(path: Path, asked: Mapping[str, Any], *, is_begun: bool) -> None:
    """Refuse other options than those of the run that began the file; keep them if no run has."""
    before: Any = None
    with contextlib.suppress(FileNotFoundError, ValueError):
        before = json.loads(path.read_text("utf-8"))
    if not is_begun or not isinstance(before, dict):
        path.write_text(json.dumps(asked), "utf-8")
        return
    other = [name for name in asked if asked[name] != before.get(name)]
    if other:
        names = ", ".join(f"{name} {before.get(name)} (now {asked[name]})" for name in other)
        raise ConfigError(
            f"{path.with_suffix('')} was begun with {names}; repeat that, or write to another file"
        )


def _scan_json(lines: Iterable[bytes]) -> tuple[dict[str, bool], int]:
    """Return the images that have a result, each with whether it failed, and where the whole lines end."""
    done: dict[str, bool] = {}
    end = 0
    for line in lines:
        if not line.endswith(b"\n"):
            break
        document = json.loads(os.fsdecode(line))
        done[str(document["file"])] = "error" in document
        end += len(line)
    return done, end


def _scan_csv(lines: Iterable[bytes]) -> tuple[dict[str, bool], int]:
    """Return the images that have all their rows, each with whether it failed, and where these end.

    These are all but the last image, which may lack rows. That cannot be seen, so it is recognised again.
    """
    done: dict[str, bool] = {}
    text = _CountedLines(lines)
    rows = csv.reader(text, strict=True)
    last, is_failed = "", False
    start = end = 0
    try:
        for row in rows:
            if text.is_cut:
                break
            if not start:
                if ",".join(row) != CSV_HEAD:
                    raise ValueError(row)
                end = text.count
            elif row[0] != last:
                done[last] = is_failed
                last, is_failed, end = row[0], bool(row[-1]), start
            start = text.count
    except csv.Error:
        # A quoted name that has a line break may be cut there.
        if not text.is_over:
            raise
    done.pop("", None)
    return done, end


class _CountedLines:
    """Gives the lines of a file as text, and counts the bytes that were given."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self.count = 0
        self.is_cut = False
        self.is_over = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.count += len(line)
            self.is_cut = not line.endswith(b"\n")
            yield os.fsdecode(line)
        self.is_over = True
