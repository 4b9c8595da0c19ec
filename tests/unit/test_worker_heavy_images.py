"""Heavy images in a worker: after the light ones of their batch, and only so many at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from beholder.errors import ImageTruncated
from beholder.model.decode.cost import is_heavy
from beholder.model.decode.limits import ImageLimits
from helpers.images import jpeg, png
from helpers.rig import Rig, prepare

WAIT_S = 20.0


def is_hen(data: bytes) -> bool:
    """Hens are heavy."""
    return data.startswith(b"h")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_the_light_images_of_a_batch_are_answered_before_a_heavy_one_is_decoded(rig: Rig) -> None:
    # given
    messages = [rig.send(image) for image in (b"hen 1", b"cat", b"hen 2", b"!broken")]
    answered: list[list[str]] = []

    def watch(data: bytes, preprocessing: Any) -> NDArray[np.uint8]:
        if is_hen(data):
            answered.append([one["id"] for one in rig.replied()])
        return prepare(data, preprocessing)

    # when
    rig.begun(is_heavy=is_hen, prepare=watch).tick()
    # then
    light, first = [messages[1].job_id, messages[3].job_id], [messages[0].job_id]
    assert [sorted(one) for one in answered] == [sorted(light), first]
    assert [rig.result(one)["status"] for one in messages] == ["succeeded"] * 3 + ["failed"]
    assert rig.is_idle()


def test_consumers_decode_only_so_many_heavy_images_at_once_and_light_ones_beside(rig: Rig) -> None:
    # given: two consumers with a heavy image each, and a light one behind
    slots = threading.Semaphore(1)
    begun, go_on = threading.Event(), threading.Event()
    at_once: list[int] = []
    under_way = 0

    def slow(data: bytes, preprocessing: Any) -> NDArray[np.uint8]:
        nonlocal under_way
        if is_hen(data):
            under_way += 1
            at_once.append(under_way)
            begun.set()
            assert go_on.wait(WAIT_S)
            under_way -= 1
        return prepare(data, preprocessing)

    more = {"is_heavy": is_hen, "heavy_decodes": slots, "prepare": slow}
    consumers = [rig.begun(name, **more) for name in ("a", "b")]
    with ThreadPoolExecutor(2) as pool:
        heavy = [rig.send(b"hen 1")]
        first = pool.submit(consumers[0].tick)
        assert begun.wait(WAIT_S)
        heavy.append(rig.send(b"hen 2"))
        light = rig.send(b"cat")
        # when
        second = pool.submit(consumers[1].tick)
        while not list(rig.results.list("results/")):
            assert not second.done()
        # then
        go_on.set()
        first.result(WAIT_S)
        second.result(WAIT_S)
    assert at_once == [1, 1]
    assert [rig.label(one) for one in (*heavy, light)] == ["hen", "hen", "cat"]


def test_a_damaged_heavy_image_frees_its_place(rig: Rig) -> None:
    slots = threading.Semaphore(1)

    def broken(_: bytes, __: Any) -> NDArray[np.uint8]:
        raise ImageTruncated

    messages = [rig.send(b"hen") for _ in range(3)]
    rig.begun(is_heavy=is_hen, heavy_decodes=slots, prepare=broken).tick()
    assert [rig.result(one)["error"]["code"] for one in messages] == [ImageTruncated.code] * 3
    assert slots.acquire(blocking=False)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(1000, 1000), True),
        (png(999, 1000), False),
        (jpeg(1, 1992), False),
        (jpeg(1, 2000), True),
        (jpeg(1) + bytes(500_000), True),
        (png(3000, 3000), False),  # refused, so nothing of it is decoded
        (b"no image", False),
        (b"", False),
    ],
)
def test_an_image_is_heavy_by_its_pixels_or_bytes(data: bytes, *, expected: bool) -> None:
    limits = ImageLimits(image_pixels_max=5_000_000)
    assert is_heavy(data, limits=limits, pixels_min=1_000_000) is expected
