"""Chromium for the tests of the pages, and a screenshot in out/ of each page of a test that failed."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.canned import CannedService
from browser.cdp import Browser, Page, chromium

OUT = Path(__file__).resolve().parents[2] / "out"
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = chromium()
    if program is None:
        sentence = "Chromium is not installed; apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    with Browser(program, tmp_path_factory.mktemp("chromium") / "profile") as running:
        yield running


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """Open pages in tabs of their own: `open_page(url, width=375)`."""
    opened: list[Page] = []

    def open_one(url: str, **view: Any) -> Page:
        page = browser.new_page(**view)
        opened.append(page)
        page.open(url)
        return page

    yield open_one
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    for number, page in enumerate(opened):
        if request.node.stash.get(FAILED, False):
            page.screenshot(OUT / f"{name}-{number}.png")
        page.close()


@pytest.fixture
def canned() -> Iterator[CannedService]:
    with CannedService() as running:
        yield running
