"""The pages in headless Chromium before the real service."""

from collections.abc import Callable
from pathlib import Path

import pytest

from browser.cdp import Page
from helpers.service import RunningService

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]

PHONE = {"width": 375, "height": 740}
CATS = {"tabby", "tiger cat", "Egyptian cat", "Persian cat", "Siamese cat", "lynx"}
ALL_ANSWERED = "document.querySelectorAll('.card[aria-busy=false]').length === {}"
UNLABELLED = """
[...document.querySelectorAll('a, button, input, select, summary, img')].filter((node) =>
  node.tagName === 'IMG' ? !node.hasAttribute('alt')
  : node.labels ? !(node.labels.length || node.textContent.trim())
  : !node.textContent.trim()).map((node) => node.outerHTML)
"""


def assert_quiet(page: Page, service: RunningService) -> None:
    assert page.complaints() == []
    foreign = [
        url
        for url in page.requested()
        if not url.startswith((f"{service.url}/", f"blob:{service.url}/", "data:"))
    ]
    assert foreign == []


def assert_fits(page: Page) -> None:
    width, content = page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
    assert content <= width


# --- the index page -----------------------------------------------------------------------------------------


def test_a_photo_of_a_cat_is_called_a_cat(
    service: RunningService, samples: Path, open_page: OpenPage
) -> None:
    page = open_page(service.url)

    page.choose_files("#files", [samples / "cat.jpg"])

    assert page.wait_for("document.querySelector('.labels .name')?.textContent") in CATS
    labels = page.evaluate("document.querySelectorAll('.labels li').length")
    assert labels == 5
    assert "ms" in page.evaluate("document.querySelector('.note').textContent")
    page.wait_for("document.querySelector('.thumb img').naturalWidth > 0")
    assert_quiet(page, service)


def test_many_photos_get_a_card_each_and_a_text_file_its_reason(
    service: RunningService, samples: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no photo\n")
    photos = sorted(samples.glob("*.jpg"))
    page = open_page(service.url, **PHONE)

    page.choose_files("#files", [*photos, text])

    page.wait_for(ALL_ANSWERED.format(len(photos) + 1))
    names = page.evaluate("[...document.querySelectorAll('.card h2')].map((name) => name.textContent)")
    assert names == [*(photo.name for photo in photos), "notes.txt"]
    assert page.evaluate("document.querySelectorAll('.labels').length") == len(photos)
    assert "JPEG" in page.evaluate("document.querySelector('.failed').textContent")
    assert page.evaluate("document.querySelectorAll('.again').length") == 0
    status = page.evaluate("document.getElementById('status').textContent")
    assert status == f"{len(photos) + 1} photos, 1 could not be recognised"
    assert_fits(page)
    assert_quiet(page, service)


def test_the_index_page_tells_of_the_model_the_limits_and_curl(
    service: RunningService, open_page: OpenPage
) -> None:
    page = open_page(service.url, **PHONE)
    page.wait_for("document.getElementById('model').textContent")
    page.wait_for("document.getElementById('bounds').textContent.includes('MB')")
    assert f"{service.url}/v1/classify" in page.evaluate("document.getElementById('curl').textContent")
    links = page.evaluate("[...document.querySelectorAll('footer a')].map((a) => a.getAttribute('href'))")
    assert set(links) == {"/metrics", "/v1/models", "/v1/limits"}
    assert_fits(page)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_everything_that_can_be_used_has_a_name(
    service: RunningService, open_page: OpenPage, path: str
) -> None:
    page = open_page(service.url + path)
    assert page.evaluate(UNLABELLED) == []
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    assert page.evaluate("document.documentElement.lang") == "en"


# --- the interface's page -----------------------------------------------------------------------------------


def test_docs_list_every_route_schema_and_code(service: RunningService, open_page: OpenPage) -> None:
    page = open_page(f"{service.url}/docs")
    api = page.evaluate("fetch('/openapi.json').then((response) => response.json())")

    listed = page.evaluate(
        "[...document.querySelectorAll('h3 .method')].map((method) =>"
        " `${method.textContent} ${method.nextSibling.textContent}`)"
    )
    assert set(listed) == {
        f"{method.upper()} {path}" for path, item in api["paths"].items() for method in item
    }
    assert len(listed) == len(set(listed))
    for name in api["components"]["schemas"]:
        assert page.evaluate(f"Boolean(document.getElementById('schema-{name}'))"), name
    codes = page.evaluate(
        "[...document.querySelectorAll('td:first-child code')].map((one) => one.textContent)"
    )
    assert codes == api["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    dead = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.getAttribute('href').slice(1))"
        ".filter((id) => !document.getElementById(id))"
    )
    assert dead == []
    assert_quiet(page, service)


def test_docs_try_a_get(service: RunningService, open_page: OpenPage) -> None:
    page = open_page(f"{service.url}/docs#list_models")
    page.evaluate("document.querySelector('#list_models .try').open = true")
    page.evaluate("document.querySelector('#list_models .send').click()")
    shown = page.wait_for("document.querySelector('#list_models form + div pre')?.textContent")
    assert "x-request-id" in shown
    assert '"default"' in shown
    assert_quiet(page, service)


def test_docs_try_classify_with_a_file_and_write_its_curl_line(
    service: RunningService, samples: Path, open_page: OpenPage
) -> None:
    page = open_page(f"{service.url}/docs", **PHONE)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.choose_files("#classify input[type=file]", [samples / "cat.jpg"])
    page.evaluate(
        "(() => { const field = [...document.querySelectorAll('#classify label')]"
        ".find((label) => label.firstChild.textContent === 'top_k').querySelector('input');"
        " field.value = '2'; field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    line = page.evaluate("document.querySelector('#classify .curl pre').textContent")
    assert line == f"curl -F myfile=@photo.jpg '{service.url}/v1/classify?top_k=2'"

    page.evaluate("document.querySelector('#classify .send').click()")

    shown = page.wait_for("document.querySelector('#classify form + div pre')?.textContent")
    assert '"status": "succeeded"' in shown
    assert shown.count('"confidence"') == 2

    # and: two files are two jobs
    page.choose_files("#classify input[type=file]", [samples / "cat.jpg", samples / "coffee.jpg"])
    page.evaluate("document.querySelector('#classify .send').click()")
    shown = page.wait_for(
        "(() => { const text = document.querySelector('#classify form + div pre')?.textContent;"
        " return text?.includes('items') && text; })()"
    )
    assert shown.count('"status": "succeeded"') == 2
    assert_fits(page)
    assert_quiet(page, service)
