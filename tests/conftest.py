"""Fixtures that every tier of tests shares."""

import faulthandler
import gc
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from helpers.service import RunningService

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


# How long an example takes hangs on the machine and its other work, and says nothing of what is tested.
hypothesis.settings.register_profile(
    "beholder",
    parent=hypothesis.settings.default,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("beholder")

# Collection makes a million objects that stay. No garbage is looked for meanwhile, nor among them later: each
# look would take half a second, and the model room asks for many.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


# pytest puts an id into the environment, of which a child process takes 128 KiB; ids also fill the reports.
NODEID_CHARS_MAX = 1000


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Bound the teardown of a test that failed: pytest ends `faulthandler_timeout` at the failure."""
    bound_s = float(node.config.getini("faulthandler_timeout"))
    if isinstance(node, pytest.Item) and bound_s > 0:
        faulthandler.dump_traceback_later(
            bound_s, file=node.config.stash[fault_handler_stderr_fd_key], exit=True
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, or the last of them would run beside nothing."""
    for item in items:
        if len(item.nodeid) > NODEID_CHARS_MAX:
            raise pytest.UsageError(f"the id of {item.nodeid[:150]} has {len(item.nodeid)} characters")
    long = ("slow", "aws")
    items.sort(key=lambda item: next((n for n, name in enumerate(long) if item.get_closest_marker(name)), 2))


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Give the root logger back as it was: a command that runs in this process sets it for itself."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


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
