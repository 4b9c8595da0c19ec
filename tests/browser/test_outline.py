"""What the model saw is outlined on the whole photo, whatever the model's preprocessing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from beholder.model import prepare
from beholder.model.port import Preprocessing, PreprocessingKind
from browser.canned import CannedService, done
from browser.cdp import Page
from helpers.images import png
from helpers.service import RunningService

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]

SEEN = (
    "(() => { const seen = document.querySelector('.outline .seen');"
    " return seen && ['x', 'y', 'width', 'height'].map((name) => Number(seen.getAttribute(name))); })()"
)
TITLE = "document.querySelector('.outline').getAttribute('aria-label')"
WORDS = {
    PreprocessingKind.CENTRE_CROP: "The model saw the square in the centre, 75 % of the shorter side.",
    PreprocessingKind.STRETCH: "The model saw the middle 75 % of each side, squeezed into a square.",
    PreprocessingKind.AS_IS: "The model saw the whole photo.",
}


@pytest.mark.parametrize("kind", PreprocessingKind)
def test_the_outline_is_the_part_that_the_preprocessing_takes(
    canned: CannedService, open_page: OpenPage, tmp_path: Path, kind: PreprocessingKind
) -> None:
    # given: the part of a photo that the worker cuts out
    width, height = 202, 118
    photo = tmp_path / "wide.png"
    photo.write_bytes(png(width, height))
    is_whole = kind is PreprocessingKind.AS_IS
    fraction = 1.0 if is_whole else 0.75
    preprocessing = Preprocessing(kind, None if is_whole else 64, fraction)
    rows, columns = np.indices((height, width), np.uint8)
    image = np.dstack((columns, rows, rows))
    part = image if is_whole else prepare._centre(image, preprocessing, 1)
    left, top = (int(part[..., channel].min()) for channel in (0, 1))
    # when
    canned.models = [
        {"name": "m", "version": "1", "classes": 10, "preprocessing": kind, "crop_fraction": fraction}
    ]
    status, headers, document = done(("a thing", 0.5))
    canned.answers.append((status, headers, document | {"model": "m", "model_version": "1"}))
    page = open_page(canned.url)
    page.wait_for("document.getElementById('model').textContent")
    page.choose_files("#files", [photo])
    # then: the same part, to half a pixel
    x, y, seen_width, seen_height = page.wait_for(SEEN)
    assert (seen_width, seen_height) == (part.shape[1], part.shape[0])
    assert abs(x - left) <= 0.5
    assert abs(y - top) <= 0.5
    assert page.evaluate(TITLE).replace("\N{NO-BREAK SPACE}", " ") == WORDS[kind]
    assert page.complaints() == []


def test_the_outline_lies_on_the_photo_and_a_job_of_an_unknown_model_has_none(
    service: RunningService, canned: CannedService, samples: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    page = open_page(service.url, width=390, height=844)
    page.wait_for("document.getElementById('model').textContent")
    page.choose_files("#files", [samples / "cat.jpg"])
    page.wait_for(SEEN)
    seen, thumb = (
        page.evaluate(
            f"(({{left, top, right, bottom}}) => [left, top, right, bottom])"
            f"(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        for selector in (".outline .seen", ".thumb")
    )
    # its middle is the thumbnail's, and it lies within
    assert [seen[0] + seen[2], seen[1] + seen[3]] == pytest.approx(
        [thumb[0] + thumb[2], thumb[1] + thumb[3]], abs=1
    )
    assert thumb[0] < seen[0] < seen[2] < thumb[2]
    assert page.complaints() == []
    # and
    canned.answers.append(done(("a thing", 0.5)))
    photo = tmp_path / "small.png"
    photo.write_bytes(png(40, 30))
    other = open_page(canned.url)
    other.choose_files("#files", [photo])
    other.wait_for("document.querySelector('.labels')")
    other.wait_for("document.querySelector('.thumb img').naturalWidth")
    assert other.evaluate(SEEN) is None
