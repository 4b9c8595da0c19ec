"""What no tracked file says: where it was made, and where packages come from."""

import functools
import re
from pathlib import Path

import pytest

from helpers.source import ROOT, tracked_files

# Put together here, so that this file may be tracked.
MACHINE_PATHS = [f"/{name}/" for name in ("work", "tmp", "home", "root", "Users")]
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
    )
]
TEXT_BYTES_MAX = 2_000_000


@functools.cache
def texts() -> tuple[tuple[Path, str], ...]:
    found = []
    for path in tracked_files():
        data = (ROOT / path).read_bytes()
        if b"\0" not in data[:8000] and len(data) < TEXT_BYTES_MAX:
            found.append((path, data.decode("utf-8", "replace")))
    assert len(found) > 100
    return tuple(found)


@pytest.mark.parametrize("word", [*MACHINE_PATHS, *REGISTRIES])
def test_no_file_names_a_machine_s_folder_or_a_registry(word: str) -> None:
    pattern = re.compile(rf"(?<![\w.~}}]){re.escape(word)}")
    naming = [
        f"{path}:{text[: hit.start()].count(chr(10)) + 1}"
        for path, text in texts()
        if (hit := pattern.search(text))
    ]
    assert not naming, f"{word} is of one machine; write what it stands for"


@pytest.mark.parametrize(
    "pattern",
    [
        r"AKIA[0-9A-Z]{16}",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
        r"(?i)aws_secret_access_key\s*=\s*['\"]?[A-Za-z0-9/+]{40}",
    ],
)
def test_no_file_holds_a_credential(pattern: str) -> None:
    assert not [str(path) for path, text in texts() if re.search(pattern, text)]


def test_what_a_tool_makes_is_not_tracked() -> None:
    made = re.compile(
        r"(^|/)(__pycache__|\.venv|\.coverage|dist|build|\.(pytest|mypy|ruff)_cache|\.hypothesis)(/|$)"
    )
    assert not [path for path in tracked_files() if made.search(path.as_posix())]


def test_text_files_end_with_one_line_break() -> None:
    odd = [
        str(path)
        for path, text in texts()
        if path.suffix in (".py", ".md", ".toml", ".txt", ".html")
        and text
        and not re.search(r"[^\n]\n\Z", text)
    ]
    assert not odd


def test_no_file_has_what_a_merge_left_open() -> None:
    left = [path for path, text in texts() if re.search(r"^(<{7}|>{7}) ", text, re.MULTILINE)]
    assert left == []


def test_no_tracked_file_is_a_link() -> None:
    """A link leads to a folder of the machine where it was made."""
    assert not [str(path) for path in tracked_files() if (ROOT / path).is_symlink()]
