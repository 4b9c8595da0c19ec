"""The index page before answers that the real service gives only on a bad day."""

from collections.abc import Callable
from pathlib import Path

import pytest

from browser.canned import CannedService, done, problem
from browser.cdp import Page

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]

FIRST_NAME = "document.querySelector('.labels .name')?.textContent"
FAILED = "document.querySelector('.failed')?.textContent"
FILES = "const data = new DataTransfer(); data.items.add(new File(['x'], 'a.png', {type: 'image/png'}));"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "a photo.jpg"
    file.write_bytes(b"not decoded by anybody")
    return file


def test_names_and_details_are_text_and_never_markup(
    canned: CannedService, open_page: OpenPage, tmp_path: Path
) -> None:
    markup = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
    file = tmp_path / "<img src=x onerror=window.hacked=1>.jpg"
    file.write_bytes(b"x")
    canned.answers += [done((markup, 0.9)), problem(422, markup)]
    page = open_page(canned.url)

    page.choose_files("#files", [file])
    assert page.wait_for(FIRST_NAME) == markup
    page.choose_files("#files", [file])
    assert page.wait_for(FAILED) == markup

    assert page.evaluate("document.querySelector('.card h2').textContent") == file.name
    assert page.evaluate("document.querySelectorAll('#cards script, .text img').length") == 0
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.complaints() == []


def test_an_unfinished_job_is_fetched_until_it_is_done(
    canned: CannedService, open_page: OpenPage, photo: Path
) -> None:
    queued = {"status": "queued", "urls": {"get": "/v1/jobs/1"}}
    canned.answers += [(202, {"Retry-After": "1"}, queued), done(("late", 0.5))]
    page = open_page(canned.url)
    page.choose_files("#files", [photo])
    assert page.wait_for(FIRST_NAME) == "late"
    assert canned.uploads == ["/v1/classify?top_k=5&file_name=a+photo.jpg"]


def test_a_job_that_failed_later_says_why(canned: CannedService, open_page: OpenPage, photo: Path) -> None:
    queued = {"status": "queued", "urls": {"get": "/v1/jobs/1"}}
    failed = {"status": "failed", "error": {"detail": "The image's data ends too early."}}
    canned.answers += [(202, {"Retry-After": "1"}, queued), (200, {}, failed)]
    page = open_page(canned.url)
    page.choose_files("#files", [photo])
    assert page.wait_for(FAILED) == "The image's data ends too early."


def test_a_busy_service_can_be_asked_again(canned: CannedService, open_page: OpenPage, photo: Path) -> None:
    canned.answers += [problem(503, "10 jobs wait already"), done(("at last", 0.5))]
    page = open_page(canned.url)
    page.choose_files("#files", [photo])
    assert page.wait_for(FAILED) == "10 jobs wait already"
    page.evaluate("document.querySelector('.again').click()")
    assert page.wait_for(FIRST_NAME) == "at last"
    assert page.wait_for("document.getElementById('status').textContent === '1 photo'")


def test_a_service_that_is_gone_is_called_so(canned: CannedService, open_page: OpenPage, photo: Path) -> None:
    page = open_page(canned.url)
    page.evaluate("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    page.choose_files("#files", [photo])
    assert "does not answer" in page.wait_for(FAILED)


def test_a_file_beyond_the_limit_is_not_sent(
    canned: CannedService, open_page: OpenPage, tmp_path: Path
) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes(bytes(1001))
    page = open_page(canned.url)
    page.wait_for("document.getElementById('bounds').textContent.includes('MB')")
    page.choose_files("#files", [file])
    assert "0.001 MB" in page.wait_for(FAILED)
    assert canned.uploads == []


@pytest.mark.parametrize(
    "event",
    [
        "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})",
        "new ClipboardEvent('paste', {clipboardData: data, bubbles: true})",
    ],
    ids=["dropped", "pasted"],
)
def test_a_photo_may_be_dropped_or_pasted(canned: CannedService, open_page: OpenPage, event: str) -> None:
    canned.answers.append(done(("a thing", 0.5)))
    page = open_page(canned.url)
    page.evaluate(f"(() => {{ {FILES} document.body.dispatchEvent({event}); }})()")
    assert page.wait_for(FIRST_NAME) == "a thing"


def test_clear_starts_again(canned: CannedService, open_page: OpenPage, photo: Path) -> None:
    canned.answers += [done(("one", 0.5)), done(("two", 0.5))]
    page = open_page(canned.url)
    page.choose_files("#files", [photo])
    page.wait_for(FIRST_NAME)
    page.evaluate("document.getElementById('clear').click()")
    assert page.evaluate("document.querySelectorAll('.card').length") == 0
    page.choose_files("#files", [photo])
    assert page.wait_for(FIRST_NAME) == "two"


def test_tab_reaches_the_file_input_and_shows_where_it_is(canned: CannedService, open_page: OpenPage) -> None:
    page = open_page(canned.url)
    for _ in range(5):  # the mark, three links, the input
        page.press("Tab", 9)
    assert page.evaluate("document.activeElement.id") == "files"
    assert page.evaluate("getComputedStyle(document.querySelector('.choose')).outlineStyle") == "solid"
