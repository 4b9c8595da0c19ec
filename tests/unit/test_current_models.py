"""The default model: one object of the output bucket, which every web process reads within a second."""

import asyncio
from typing import Any

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable, ModelNotFound, ModelVersionNotFound
from beholder.results.default_model import read_default, write_default
from beholder.store.keys import DEFAULT_MODEL
from beholder.store.memory import MemoryStore
from beholder.web.current_models import CurrentModels
from beholder.web.ports import ServedModel
from beholder.web.served_models import ServedModels
from beholder.worker.upload_default import UploadDefault
from helpers.rig import RecordedPort, Recorder
from helpers.web import Ask, ask, memory_ports

MODELS = tuple(
    ServedModel(name, version, "MIT", "", 4, "as-is", None)
    for name, version in (("first", "1"), ("second", "1"), ("second", "2"))
)


class Deployment:
    """A bucket, a clock, and web processes that read them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(clock=self.clock)
        self.recorder = Recorder()

    def process(self, models: tuple[ServedModel, ...] = MODELS) -> CurrentModels:
        port: Any = RecordedPort(self.store, "results", self.recorder)
        return CurrentModels(ServedModels(models), port, self.clock)


async def default_of(process: CurrentModels) -> str:
    return (await process.get()).models[0].reference


def test_a_switch_is_known_at_once_here_and_within_a_second_elsewhere_and_after_a_restart() -> None:
    async def switch() -> None:
        deployment = Deployment()
        one, two = deployment.process(), deployment.process()
        assert [await default_of(one), await default_of(two)] == ["first@1", "first@1"]
        models = await one.switch("second@2")
        assert [model.reference for model in models.models] == ["second@2", "first@1", "second@1"]
        assert models.find("second").version == "2", "the default comes before others of its name"
        assert [await default_of(one), await default_of(two)] == ["second@2", "first@1"]
        deployment.clock.advance(1.0)
        assert [await default_of(one), await default_of(two)] == ["second@2", "second@2"]
        assert await default_of(deployment.process()) == "second@2"
        assert (await two.switch("second")).models[0].reference == "second@2"
        assert (await two.switch("second@1")).models[0].reference == "second@1"

    asyncio.run(switch())


def test_many_requests_cost_one_reading_a_second_and_one_model_costs_none() -> None:
    async def read() -> None:
        deployment = Deployment()
        one, alone = deployment.process(), deployment.process(MODELS[:1])
        for _ in range(3):
            await asyncio.gather(*(one.get() for _ in range(20)), *(alone.get() for _ in range(20)))
            deployment.clock.advance(0.6)
        assert deployment.recorder.calls == ["results.get"] * 2

    asyncio.run(read())


def test_a_bucket_that_does_not_answer_leaves_the_last_default(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        deployment = Deployment()
        process = deployment.process()
        await process.switch("second@1")
        deployment.recorder.failures["results.get"] = BackendUnavailable("s3 bucket", "get")
        deployment.clock.advance(5.0)
        assert await default_of(process) == "second@1"

    asyncio.run(fail())
    assert [one.action for one in caplog.records if one.levelname == "WARNING"] == ["models.default_unread"]


@pytest.mark.parametrize(
    "stored", [b"", b"[]", b"{}", b"\xff", b'{"model": "third@1"}', b'{"model": "second"}']
)
def test_a_default_that_cannot_be_served_leaves_that_of_the_settings(stored: bytes) -> None:
    deployment = Deployment()
    deployment.store.put(DEFAULT_MODEL, stored)
    assert asyncio.run(default_of(deployment.process())) == "first@1"


@pytest.mark.parametrize(("asked", "error"), [("third", ModelNotFound), ("second@3", ModelVersionNotFound)])
def test_what_is_not_served_does_not_become_the_default(asked: str, error: type[Exception]) -> None:
    deployment = Deployment()
    with pytest.raises(error):
        asyncio.run(deployment.process().switch(asked))
    assert read_default(deployment.store) is None


def test_a_worker_reads_the_default_of_uploads_once_a_second() -> None:
    deployment = Deployment()
    port: Any = RecordedPort(deployment.store, "results", deployment.recorder)
    upload_default = UploadDefault(port, deployment.clock)
    assert [upload_default.get(), upload_default.get()] == [None, None]
    write_default(deployment.store, "second@1")
    deployment.clock.advance(1.0)
    assert upload_default.get() == "second@1"
    deployment.recorder.failures["results.get"] = BackendUnavailable("s3 bucket", "get")
    deployment.clock.advance(1.0)
    assert upload_default.get() == "second@1"
    assert deployment.recorder.calls == ["results.get"] * 3


def put_default(body: bytes) -> Ask:
    return Ask("PUT", "/v1/models/default", body, {"content_type": "application/json"})


def test_the_route_sets_the_default_that_the_list_shows() -> None:
    ports = memory_ports(models=MODELS)
    put, got = ask(ports, put_default(b'{"model": "second@2"}'), Ask("GET", "/v1/models"))
    assert (put.status, got.json) == (200, put.json)
    assert (got.json["default"], got.json["default_version"]) == ("second", "2")
    assert [one["version"] for one in got.json["models"]] == ["2", "1", "1"]
    assert read_default(ports.results) == "second@2"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_parameter"),
        (b"second@2", 400, "bad_parameter"),
        (b'["second@2"]', 400, "bad_parameter"),
        (b"{}", 400, "bad_parameter"),
        (b'{"model": ""}', 400, "bad_parameter"),
        (b'{"model": 2}', 400, "bad_parameter"),
        (b'{"model": "second@2", "share": 1}', 400, "parameter_unknown"),
        (b'{"model": "third"}', 404, "model_not_found"),
        (b'{"model": "second@3"}', 404, "model_version_not_found"),
        (b'{"model": "' + b"x" * 5000 + b'"}', 400, "bad_parameter"),
    ],
)
def test_the_route_refuses_what_names_no_model(body: bytes, status: int, code: str) -> None:
    (answer,) = ask(memory_ports(models=MODELS), put_default(body))
    assert (answer.status, answer.json["code"]) == (status, code)
