"""The pages before a service that asks for API keys."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from browser.cdp import Page
from helpers.service import RunningService

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]

ASKS = "!document.getElementById('key-form').hidden"
MODEL = "document.getElementById('model').textContent"
USE = """
document.getElementById('key').value = {!r};
document.querySelector('#key-form button').click();
"""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("locked"), keys="on", workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def key(locked: RunningService) -> str:
    command = [sys.executable, "-m", "beholder", "keys", "create", "page"]
    made = subprocess.run(
        [*command, "--data-dir", str(locked.data_dir)], capture_output=True, text=True, check=True, timeout=60
    )
    return made.stdout.strip()


def test_the_page_asks_for_a_key_and_sends_it_with_every_photo(
    locked: RunningService, key: str, samples: Path, open_page: OpenPage
) -> None:
    # given: without a key the page says so, and says nothing of the model
    page = open_page(locked.url)
    page.wait_for(ASKS)
    assert page.evaluate(MODEL) == ""
    page.choose_files("#files", [samples / "cat.jpg"])
    assert "API key" in page.wait_for("document.querySelector('.failed')?.textContent")
    # when: a wrong one is refused in words
    page.evaluate(USE.format("bhk_wrong"))
    page.wait_for(f"{ASKS} && document.getElementById('key-why').textContent.includes('revoked')")
    # then: the right one serves, also for the photo that was refused
    page.evaluate(USE.format(key))
    page.wait_for(MODEL)
    assert not page.evaluate(ASKS)
    page.evaluate("document.querySelector('.again').click()")
    assert page.wait_for("document.querySelector('.labels .name')?.textContent")
    # and is kept for the tab, and shown nowhere
    page.open(locked.url)
    page.wait_for(MODEL)
    assert not page.evaluate(ASKS)
    assert key not in page.evaluate("JSON.stringify(localStorage)")
    assert key not in page.evaluate("document.documentElement.outerHTML")
    assert "$BEHOLDER_API_KEY" in page.evaluate("document.getElementById('curl').textContent")
    assert not [line for line in locked.lines if key in line]


def test_the_interface_for_people_is_tried_with_the_key(
    locked: RunningService, key: str, open_page: OpenPage
) -> None:
    page = open_page(f"{locked.url}/docs")
    page.evaluate(
        f"const input = document.querySelector('#key input'); input.value = {key!r};"
        "input.dispatchEvent(new Event('input'));"
        "document.querySelector('#list_models .try').open = true;"
        "document.querySelector('#list_models .try .send').click();"
    )
    answer = page.wait_for("document.querySelector('#list_models .try pre')?.textContent")
    assert re.search(r'"models"', answer)
    assert "$BEHOLDER_API_KEY" in page.evaluate(
        "document.querySelector('#list_models .curl pre').textContent"
    )
    assert "$BEHOLDER" not in page.evaluate("document.querySelector('#healthz .curl pre').textContent")


def test_an_open_service_asks_for_no_key(service: RunningService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    page.wait_for(MODEL)
    assert not page.evaluate(ASKS)
    assert page.evaluate("getComputedStyle(document.querySelector('.unkeyed')).display") != "none"
    assert "$BEHOLDER_API_KEY" not in page.evaluate("document.getElementById('curl').textContent")
    docs = open_page(f"{service.url}/docs")
    assert docs.evaluate("document.getElementById('key')") is None
    assert page.complaints() == docs.complaints() == []
