"""The file that a stopped `beholder classify` is resumed from: no image is lost, and none has two results."""

import csv
import json
import os
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.cli.results_file import csv_rows, json_line, resumed
from beholder.client import FileResult
from beholder.errors import ConfigError, ImageUndecodable
from beholder.job import Label

# What names on a disk may have: quotes, commas, line breaks, and bytes that are no text.
NAMES = st.lists(
    st.text(st.sampled_from('ab ,"\n\r\u00e9\udcff'), min_size=1, max_size=6), unique=True, max_size=5
)
SUFFIXES = (".jsonl", ".ndjson", ".csv", ".CSV")


def result_of(file: str) -> FileResult:
    """What an image of this name gives: two labels, one, none, or an error."""
    if len(file) % 4 == 3:
        return FileResult(file, error=ImageUndecodable("it is cut"))
    labels = (Label(0, "a, b", 0.75), Label(1, 'c "d"', 0.25))
    return FileResult(file, labels[: len(file) % 4])


def names_in(path: Path) -> list[str]:
    """Return the image of each result; fails if one has not all its rows."""
    text = os.fsdecode(path.read_bytes())
    if path.suffix.lower() != ".csv":
        rows = [json.loads(line) for line in text.split("\n")[:-1]]
        assert rows == [json.loads(json_line(result_of(row["file"]))) for row in rows]
        return [row["file"] for row in rows]
    with path.open(newline="", errors="surrogateescape") as lines:
        names = list(dict.fromkeys(row["file"] for row in csv.DictReader(lines)))
    head = "file,rank,name,index,confidence,error\n"
    assert text == head + "".join(f"{csv_rows(result_of(name))}\n" for name in names)
    return names


ASKED = {"--top-k": 5, "--model": "a@1"}


def run(path: Path, names: list[str]) -> set[str]:
    """Do what the command does: write the results that are missing; return the others."""
    with resumed(path, ASKED) as (done, write):
        for name in names:
            if name not in done:
                write(result_of(name))
        return set(done)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(names=NAMES, share=st.floats(0, 1), write_more=st.booleans())
def test_a_run_that_was_cut_anywhere_is_completed(
    suffix: str, names: list[str], share: float, *, write_more: bool
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"out{suffix}")
        run(path, names)
        whole = path.read_bytes()
        os.truncate(path, round(share * len(whole)))
        done = run(path, names)
        assert path.read_bytes() == whole
        assert names_in(path) == names
        # Only the last image is recognised anew, not those before it.
        assert len(done) >= whole[: round(share * len(whole))].count(b"\n") // 4 - 2
        if write_more:
            run(path, [*names, "another"])
            assert names_in(path) == [*names, "another"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_whole_file_leaves_out_what_it_has(suffix: str, tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(5)]
    path = tmp_path / f"out{suffix}"
    run(path, names)
    # Of CSV's last image no line says that it has all its rows.
    assert run(path, names) == set(names if "csv" not in suffix.lower() else names[:-1])
    assert names_in(path) == names


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_failed_in_an_earlier_run_is_known(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    run(path, ["bad", "good1", "none", "last"])
    with resumed(path, ASKED) as (done, _):
        assert {name: done[name] for name in ("bad", "good1", "none")} == {
            "bad": True,
            "good1": False,
            "none": False,
        }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("out.jsonl", b"some notes\n"),
        ("out.jsonl", b"[1]\n"),
        ("out.jsonl", b'{"other": 1}\n'),
        ("out.jsonl", b'"file"\n'),
        ("out.jsonl", b"\0\0\0\n"),
        ("out.csv", b"name,label\na,b\n"),
        ("out.csv", b"\n"),
        ("out.csv", b"file,rank,name,index,confidence,error\n\n"),
        ("out.csv", b'file,rank,name,index,confidence,error\na"b"c,"d"e,,,,\nx,,,,,\n'),
        ("out.txt", b""),
        ("out", b""),
        ("out.parquet", b""),
    ],
    ids=str,
)
def test_a_file_of_something_else_is_refused_and_stays(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=name):
        resumed(path, ASKED).__enter__()
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("target", "problem"),
    [("/none/none", "cannot be written: No such file"), ("/dev/full", "is no file"), ("/tmp", "is no file")],  # noqa: S108
)
def test_what_is_no_file_is_named(target: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "out.csv").symlink_to(target)
    with pytest.raises(ConfigError, match=rf"out\.csv {problem}"):
        resumed(tmp_path / "out.csv", ASKED).__enter__()


def test_a_disk_that_takes_no_more_is_named_and_what_it_took_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    with resumed(path, ASKED) as (_, write):
        write(result_of("a.jpg"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, most))
        try:
            with pytest.raises(ConfigError, match="cannot be written: File too large"):
                write(result_of("b.jpg"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert run(path, ["a.jpg", "b.jpg"]) == {"a.jpg"}
    assert names_in(path) == ["a.jpg", "b.jpg"]


def test_a_second_run_on_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with resumed(path, ASKED), pytest.raises(ConfigError, match="another run writes"):
        resumed(path, ASKED).__enter__()
    run(path, ["a.jpg"])
    assert names_in(path) == ["a.jpg"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_with_other_options_is_refused_and_a_file_without_results_takes_them(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"out{suffix}"
    run(path, ["a.jpg", "b.jpg"])
    whole = path.read_bytes()
    sentence = rf"out\{suffix} was begun with --top-k 5 \(now 1\), --model a@1 \(now b@1\); repeat that"
    with pytest.raises(ConfigError, match=sentence):
        resumed(path, {"--top-k": 1, "--model": "b@1"}).__enter__()
    assert path.read_bytes() == whole
    path.write_bytes(b"")
    with resumed(path, {"--top-k": 1, "--model": "b@1"}) as (_, write):
        write(result_of("a.jpg"))
        write(result_of("b.jpg"))
    with pytest.raises(ConfigError, match="--top-k 1"):
        run(path, ["a.jpg"])


def test_a_file_of_a_run_that_kept_no_options_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    run(path, ["a.jpg"])
    (tmp_path / "out.jsonl.options").write_bytes(b"")
    assert run(path, ["a.jpg", "b.jpg"]) == {"a.jpg"}
    with pytest.raises(ConfigError, match="--top-k"):
        resumed(path, {"--top-k": 1}).__enter__()
