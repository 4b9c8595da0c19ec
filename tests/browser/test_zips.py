"""Zips on the index page: unpacked in the browser, photo by photo, and what is no photo is a line."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from browser.canned import CannedService, done
from browser.cdp import Page
from browser.test_index_many import CLICK, FINISHED, STATUS
from helpers.images import jpeg, png
from helpers.service import RunningService

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]

LINES = (
    "Object.fromEntries([...document.querySelectorAll('.card')].map((card) =>"
    " [card.querySelector('h2').textContent, card.querySelector('.failed')?.textContent ?? '']))"
)


def zipped(file: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file


def changed(file: Path, name: str, field: int, value: bytes) -> Path:
    """Write bytes over a field of an entry in the directory of a zip."""
    data = file.read_bytes()
    begin = data.index(b"PK\x01\x02", data.rindex(name.encode()) - 46) + field
    file.write_bytes(data[:begin] + value + data[begin + len(value) :])
    return file


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_photos_of_a_zip_are_recognised_and_the_rest_are_lines(
    service: RunningService, open_page: OpenPage, tmp_path: Path, method: int
) -> None:
    # given: folders within the zip, what a Mac adds, a text, an empty photo, and a second zip
    entries = {
        "01.jpg": jpeg(1),
        "beach/": b"",
        "beach/01.jpg": jpeg(2),
        "beach/far/ünder.PNG": png(30, 20),
        "beach/notes.txt": b"no photo",
        "empty.jpg": b"",
        "__MACOSX/beach/._01.jpg": b"metadata",
        "beach/.DS_Store": b"metadata",
    }
    second = zipped(tmp_path / "second.zip", {"third.jpg": jpeg(3)}, method)
    archive = zipped(tmp_path / "first.zip", entries, method)
    page = open_page(service.url, width=390, height=844)
    # when
    page.choose_files("#files", [archive, second])
    # then
    page.wait_for(FINISHED.format(6))
    assert page.evaluate(LINES) == {
        "01.jpg": "",
        "beach/01.jpg": "",
        "beach/far/ünder.PNG": "",
        "third.jpg": "",
        "beach/notes.txt": "This file is no photo.",
        "empty.jpg": "This file is empty.",
    }
    assert page.evaluate(STATUS) == "6 photos, 2 could not be recognised"
    shown = "[...document.querySelectorAll('.card')].filter((card) => card.querySelector('.labels'))"
    assert page.evaluate(f"{shown}.every((card) => card.querySelector('.thumb img'))")
    width, content = page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
    assert content <= width
    assert page.complaints() == []


def test_a_zip_that_cannot_be_read_says_why(
    canned: CannedService, open_page: OpenPage, tmp_path: Path
) -> None:
    photo = {"a.jpg": b"not decoded " * 9}
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.jpg", b"")
    (tmp_path / "many.zip").write_bytes(many.getvalue())
    (tmp_path / "cut.zip").write_bytes(zipped(tmp_path / "whole", photo).read_bytes()[:-10])
    files = [
        tmp_path / "many.zip",
        tmp_path / "cut.zip",
        zipped(tmp_path / "none.zip", {}),
        zipped(tmp_path / "large.zip", {"large.jpg": bytes(1001)}),
        changed(zipped(tmp_path / "1.zip", {"locked.jpg": b"x"}), "locked.jpg", 8, b"\x01\x00"),
        changed(zipped(tmp_path / "2.zip", {"odd.jpg": b"x"}), "odd.jpg", 10, b"\x0c\x00"),
        # it unpacks to more than it says, so it is read no further; and to less
        changed(zipped(tmp_path / "3.zip", {"bomb.jpg": bytes(100_000)}), "bomb.jpg", 24, b"\x10\0\0\0"),
        changed(zipped(tmp_path / "4.zip", {"short.jpg": b"x"}), "short.jpg", 24, b"\x10\0\0\0"),
        # its place is behind the end
        changed(zipped(tmp_path / "5.zip", {"lost.jpg": b"x"}), "lost.jpg", 42, b"\xff\xff\0\0"),
    ]
    page = open_page(canned.url)
    page.wait_for("document.getElementById('bounds').textContent.includes('MB')")
    page.choose_files("#files", files)
    page.wait_for(FINISHED.format(len(files)))
    damaged = "This photo is damaged in the zip."
    assert page.evaluate(LINES) == {
        "many.zip": "This zip is too large for this page: it takes 10,000 files and 4 GB. Unpack it and drop "
        "its folder.",
        "cut.zip": "This is no zip, or its end is missing.",
        "none.zip": "There is nothing in this zip.",
        "large.jpg": "The file has more than 0.001 MB; send a smaller image.",
        "locked.jpg": "This photo is behind a password.",
        "odd.jpg": "This photo is packed in a way that browsers cannot unpack.",
        "bomb.jpg": damaged,
        "short.jpg": damaged,
        "lost.jpg": damaged,
    }
    assert canned.uploads == []
    assert page.complaints() == []


def test_a_zip_is_paused_goes_on_and_is_canceled_like_photos(
    canned: CannedService, open_page: OpenPage, tmp_path: Path
) -> None:
    canned.answers += [done(("a thing", 0.5))] * 3
    archive = zipped(tmp_path / "a.zip", {f"{number}.jpg": b"not decoded" for number in range(3)})
    page = open_page(canned.url)
    page.evaluate(CLICK.format("pause"))
    page.choose_files("#files", [archive])
    page.wait_for(f"{STATUS} === '0 of 3 photos done'")
    assert page.evaluate("document.getElementById('progress').max") == 3
    assert canned.uploads == []
    page.evaluate(CLICK.format("pause"))
    page.wait_for(f"{STATUS} === '3 photos'")
    # and
    page.evaluate(CLICK.format("pause"))
    page.choose_files("#files", [archive])
    page.wait_for(f"{STATUS} === '3 of 6 photos done'")
    page.evaluate(CLICK.format("cancel"))
    page.wait_for(f"{STATUS} === '6 photos, 3 could not be recognised'")
    assert len(canned.uploads) == 3
