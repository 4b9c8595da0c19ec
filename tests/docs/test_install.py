"""Nothing tells a reader to install a name that beholder does not own on any package index."""

import re
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT

# `pip install beholder`, `uv add beholder`, "'beholder[aws]'": the package of that name is not ours.
BY_NAME = re.compile(
    r"(?:\b(?:pip|pipx|uv pip|uv tool) install|\buv add|\bpipx run|\buvx)"
    r"(?: +-[-\w]+)* +['\"]?beholder(?![\w./-])"
)
EXTRA_BY_NAME = re.compile(r"(?<![\w./-])beholder\[\w+")
TEXTS = [*PAGES, *sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "src").rglob("*.html"))]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_beholder_is_installed_from_a_checkout_or_a_wheel(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not BY_NAME.findall(text)
    assert not EXTRA_BY_NAME.findall(text)


@pytest.mark.parametrize(
    "line",
    [
        "pip install beholder",
        "pip install 'beholder[aws]'",
        "python -m pip install --upgrade beholder",
        "uv add beholder",
        "uvx beholder up",
    ],
)
def test_such_a_line_is_found(line: str) -> None:
    assert BY_NAME.search(line)


@pytest.mark.parametrize(
    "line", ["pip install .", "pip install '.[aws]'", "pip install 'beholder-0.1.0-py3-none-any.whl[aws]'"]
)
def test_a_checkout_and_a_wheel_are_fine(line: str) -> None:
    assert not BY_NAME.search(line)
    assert not EXTRA_BY_NAME.search(line)
