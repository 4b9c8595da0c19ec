"""Fixtures that every tier of tests shares."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.service import RunningService

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


# Collection makes a million objects that stay. No garbage is looked for meanwhile, nor among them later: each
# look would take half a second, and the model room asks for many.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, or the last of them would run beside nothing."""
    long = ("slow", "aws")
    items.sort(key=lambda item: next((n for n, name in enumerate(long) if item.get_closest_marker(name)), 2))


@pytest.fixture(scope="session")
def labelled() -> Path:
    """The 100 labelled photos; they lie beside the checkout and are never copied into it."""
    folder = SHARED / "labelled"
    if not folder.is_dir():
        pytest.skip(f"the labelled photos are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def imagenet_100() -> Path:
    """The class project's own 100 images, 64 x 64."""
    folder = SHARED / "imagenet-100"
    if not folder.is_dir():
        pytest.skip(f"the class project's images are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def samples() -> Path:
    return Path(__file__).resolve().parents[1] / "samples"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for all tests that only send images; a test that harms it starts its own."""
    with RunningService(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that starts and answers within moments, for tests that ask what becomes of jobs."""
    from tiny_models import write_folder  # noqa: PLC0415 -- onnx takes long to import, and few tests want it

    return write_folder(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., RunningService]]:
    """Start services of a test's own; each is ended after it."""
    started: list[RunningService] = []

    def start(data_dir: Path | None = None, **settings: object) -> RunningService:
        running = RunningService(data_dir or tmp_path / "data", **settings)
        started.append(running)
        running.start()
        return running

    yield start
    for running in started:
        running.stop()
