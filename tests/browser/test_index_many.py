"""The index page with many photos: folders, pause, cancel, sorting, results, links to jobs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from browser.canned import CannedService, done
from browser.cdp import Page
from helpers.images import jpeg
from helpers.service import RunningService

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]

STATUS = "document.getElementById('status').textContent"
FINISHED = "document.querySelectorAll('.card[aria-busy=false]').length === {}"
CLICK = "document.getElementById({!r}).click()"


def photos(folder: Path, count: int, make: Callable[[int], bytes] = lambda _: b"not decoded") -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number:02}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        file.write_bytes(make(number))
    return files


def drop(page: Page, files: list[Path]) -> None:
    """Drop files or folders, as a file manager does."""
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.call("Input.dispatchDragEvent", type=kind, x=300, y=300, data=data)


def job(number: int, label: str, confidence: float) -> tuple[int, dict[str, str], dict[str, object]]:
    status, headers, document = done((label, confidence))
    more = {"id": f"id-{number}", "created_at": "2026-03-01T12:00:00.000Z", "input": {"file_name": "a.jpg"}}
    return status, headers, document | more


def test_twenty_photos_and_a_folder_are_recognised_and_a_broken_one_is_a_line(
    service: RunningService, open_page: OpenPage, tmp_path: Path
) -> None:
    # given: a folder with a photo below another, an empty one, and a text
    loose, inside = photos(tmp_path / "loose", 20, jpeg), tmp_path / "holiday" / "beach"
    inside.parent.mkdir()
    photos(inside, 2, jpeg)
    (inside.parent / "empty.jpg").touch()
    (inside.parent / "notes.txt").write_text("no photo")
    page = open_page(service.url, width=390, height=844)
    # when
    drop(page, [*loose, inside.parent])
    # then
    page.wait_for(FINISHED.format(23))
    assert page.evaluate(STATUS) == "23 photos, 1 could not be recognised, 1 other file left out"
    assert page.evaluate("document.querySelector('.line .failed').textContent") == "This file is empty."
    assert page.evaluate("document.getElementById('progress').hidden")
    width, content = page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
    assert content <= width
    heights = page.evaluate("[...document.querySelectorAll('.card')].map((card) => card.offsetHeight)")
    assert max(heights) < 844 / 3
    assert page.complaints() == []


def test_paused_photos_wait_and_go_on(canned: CannedService, open_page: OpenPage, tmp_path: Path) -> None:
    canned.answers += [done(("a thing", 0.5))] * 3
    page = open_page(canned.url)
    page.evaluate(CLICK.format("pause"))
    page.choose_files("#files", photos(tmp_path / "photos", 3))
    page.wait_for(f"{STATUS} === '0 of 3 photos done'")
    assert page.evaluate("document.getElementById('pause').textContent") == "Go on"
    assert canned.uploads == []
    page.evaluate(CLICK.format("pause"))
    page.wait_for(f"{STATUS} === '3 photos'")


def test_cancel_ends_what_waits_and_tells_the_service(
    canned: CannedService, open_page: OpenPage, tmp_path: Path
) -> None:
    queued = {"id": "id-1", "status": "queued", "urls": {"get": "/v1/jobs/id-1"}}
    canned.answers += [(202, {"Retry-After": "600"}, queued)] * 4 + [done(("canceled", 0.5))] * 4
    page = open_page(canned.url)
    page.choose_files("#files", photos(tmp_path / "photos", 6))
    page.wait_for(
        "[...document.querySelectorAll('.note')].filter((one) => one.textContent === 'Queued').length === 4"
    )
    page.evaluate(CLICK.format("cancel"))
    page.wait_for(FINISHED.format(6))
    said = page.evaluate("[...document.querySelectorAll('.failed')].map((one) => one.textContent)")
    assert said == ["Canceled."] * 6
    assert page.evaluate("document.querySelectorAll('.again').length") == 6
    page.wait_for("document.getElementById('cancel').hidden")
    assert sum(url.endswith("/v1/jobs/id-1/cancel") for url in page.requested()) == 4


def test_results_are_sorted_filtered_and_copied(
    canned: CannedService, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(canned.url)
    for number, (label, confidence) in enumerate((("zebra", 0.4), ("apple", 0.6), ("mango", 0.9))):
        canned.answers.append(job(number, label, confidence))
        page.choose_files("#files", photos(tmp_path / f"{number}", 1))
        page.wait_for(FINISHED.format(number + 1))
    names = "[...document.querySelectorAll('#cards > li:not([hidden]) .name')].map((one) => one.textContent)"
    choose = (
        "(() => {{ const field = document.getElementById({!r}); field.value = {!r};"
        " field.dispatchEvent(new Event('input')); }})()"
    )
    page.evaluate(choose.format("order", "label"))
    assert page.evaluate(names) == ["apple", "mango", "zebra"]
    page.evaluate(choose.format("order", "confidence"))
    assert page.evaluate(names) == ["mango", "apple", "zebra"]
    page.evaluate(choose.format("filter", "AP"))
    assert page.evaluate(names) == ["apple"]
    page.evaluate(choose.format("filter", ""))
    page.evaluate(choose.format("least", "0.5"))
    assert page.evaluate(names) == ["mango", "apple"]
    # and: the forms of the results
    card = "{name: '=cmd.jpg', error: '', labels: [{name: 'a, b', index: 3, confidence: 0.5}]}"
    csv = page.evaluate(f"import('/assets/results.js').then((results) => results.asCsv([{card}]))")
    assert csv == 'file,rank,name,index,confidence,error\r\n\'=cmd.jpg,1,"a, b",3,0.5,\r\n'
    text = page.evaluate(f"import('/assets/results.js').then((results) => results.asJson([{card}]))")
    assert json.loads(text)[0]["labels"][0]["name"] == "a, b"


def test_a_link_opens_the_job_again_and_the_browser_remembers_it(
    canned: CannedService, open_page: OpenPage, tmp_path: Path
) -> None:
    canned.answers += [job(7, "a thing", 0.5), job(7, "a thing", 0.5)]
    page = open_page(canned.url)
    page.choose_files("#files", photos(tmp_path / "photos", 1))
    link = page.wait_for("document.querySelector('.card h2 a')?.getAttribute('href')")
    assert link == "#job=id-7"
    # when: the page is opened anew with it
    again = open_page(f"{canned.url}/{link}")
    # then
    assert again.wait_for("document.querySelector('.labels .name')?.textContent") == "a thing"
    assert again.evaluate("document.querySelector('.card h2').textContent") == "a.jpg"
    remembered = "document.getElementById('earlier-list').textContent"
    assert "a thing" in again.evaluate(remembered)
    again.evaluate(CLICK.format("forget"))
    assert again.evaluate(remembered) == ""
    assert again.evaluate("localStorage.length") == 0


def test_the_model_and_the_number_of_labels_are_chosen(
    canned: CannedService, open_page: OpenPage, tmp_path: Path
) -> None:
    canned.models = [{"name": name, "version": "1", "classes": 10} for name in ("first", "second")]
    canned.answers.append(done(("a thing", 0.5)))
    page = open_page(canned.url)
    page.wait_for("!document.getElementById('model-part').hidden")
    page.evaluate(
        "document.getElementById('model-choice').value = 'second@1';"
        "document.getElementById('top-k').value = '3'"
    )
    page.choose_files("#files", photos(tmp_path / "photos", 1))
    page.wait_for(FINISHED.format(1))
    assert canned.uploads == ["/v1/classify?top_k=3&model=second%401&file_name=00.jpg"]
