"""Several models in one service: each answer is that of the model it names, whatever is switched."""

import io
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from helpers.service import RunningService
from tiny_models import LABELS, write_folder

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "dark": (0, 0, 0)}


def image(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), COLOURS[colour]).save(file, "PNG")
    return file.getvalue()


RED = image("red")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Two versions of one model and another model; what each calls a colour says which of them ran."""
    folder = tmp_path_factory.mktemp("several")
    for name, version in (("tiny", "1"), ("tiny", "2"), ("other", "7")):
        labels = tuple(f"{label} of {name}@{version}" for label in LABELS)
        write_folder(folder / "models" / f"{name}@{version}", name=name, version=version, labels=labels)
    with RunningService(folder, model="tiny@1,tiny@2,other") as running:
        yield running


@pytest.fixture(scope="module")
def shadowed(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The same models with a shadow that says what tiny@1 says, for every request without a model."""
    folder = tmp_path_factory.mktemp("shadowed")
    (folder / "models").symlink_to(service.data_dir / "models")
    labels = tuple(f"{label} of tiny@1" for label in LABELS)
    shadow = write_folder(folder / "candidate", name="candidate", labels=labels)
    more = {"shadow": shadow, "shadow_share": 1.0, "workers_min": 2}
    with RunningService(folder, model="tiny@1,tiny@2,other", **more) as running:
        yield running


def await_ready(service: RunningService) -> None:
    """Wait until the web process that was killed has a successor that accepts images."""
    deadline_s = time.monotonic() + 60
    while True:
        try:
            if service.get("/readyz").status == 200:
                return
        except OSError:
            pass
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def set_default(service: RunningService, model: str) -> Any:
    body = json.dumps({"model": model}).encode()
    answer = service.request("PUT", "/v1/models/default", body, {"content-type": "application/json"})
    assert answer.status == 200, answer.body
    return answer.json


def ran(job: dict[str, Any]) -> str:
    """Return the model that a job names, once its labels say the same."""
    model = f"{job['model']}@{job['model_version']}"
    assert {label["name"].partition(" of ")[2] for label in job["result"]["labels"]} == {model}
    return model


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/classify?model=tiny@2", "tiny@2"),
        ("/v1/classify?model=other", "other@7"),
        ("/v1/classify?model=tiny@1&include=green%20of%20tiny@1,red%20of%20TINY@1&exclude=0", "tiny@1"),
    ],
)
def test_a_request_names_its_model(service: RunningService, path: str, model: str) -> None:
    answer = service.request("POST", path, RED, {"content-type": "application/octet-stream"})
    assert ran(answer.json) == model


def test_clients_of_other_services_name_it_in_the_path(service: RunningService) -> None:
    for path, model in (("other", "other@7"), ("tiny/1", "tiny@1"), ("tiny/2", "tiny@2")):
        labels = service.request("POST", f"/predictions/{path}", RED).json
        assert max(labels, key=labels.get) == f"red of {model}"
    assert service.request("POST", "/predictions/tiny/3", RED).json["type"] == "ModelVersionNotFoundException"
    assert service.get("/v2/models/tiny/versions/2").json["versions"] == ["1", "2"]
    assert service.get("/v2/models/tiny/versions/3").status == 404
    (label,) = service.request("POST", "/hf/tiny@2?top_k=1", RED).json
    assert label["label"] == "red of tiny@2"


def test_an_outcome_names_the_model_also_where_the_job_fails(service: RunningService) -> None:
    cut = image("blue")[:60]
    job = service.classify(cut, "?model=tiny@2").json["job"]
    assert (job["status"], job["model"], job["model_version"]) == ("failed", "tiny", "2")


class Client(threading.Thread):
    """Sends one image after the other, waiting and not waiting by turns, until it is stopped."""

    def __init__(self, service: RunningService) -> None:
        super().__init__()
        self._service = service
        self.stopped = threading.Event()
        self.answers: list[str] = []
        self.accepted: dict[str, str] = {}
        self.problems: list[object] = []

    def run(self) -> None:
        prefer = {}
        while not self.stopped.is_set():
            prefer = {} if prefer else {"prefer": "respond-async"}
            try:
                answer = self._service.classify(RED, **prefer)
            except OSError:  # the web process is being restarted
                time.sleep(0.01)
                continue
            if answer.status == 202:
                job = answer.json
                self.accepted[job["id"]] = f"{job['model']}@{job['model_version']}"
            elif answer.status == 200:
                self.answers.append(ran(answer.json))
            else:
                self.problems.append(answer.json)


def outcome(service: RunningService, job_id: str) -> Any:
    """Return a job's outcome, waiting for it."""
    deadline_s = time.monotonic() + 60
    while (job := service.get(f"/v1/jobs/{job_id}").json)["status"] in ("queued", "running"):
        assert time.monotonic() < deadline_s, job
        time.sleep(0.05)
    return job


def test_a_switch_of_the_default_under_load_loses_and_mixes_nothing(service: RunningService) -> None:
    clients = [Client(service) for _ in range(4)]
    set_default(service, "tiny@1")
    for client in clients:
        client.start()
    seen: Counter[str] = Counter()
    try:
        for model in ("tiny@2", "other", "tiny@1", "tiny@2"):
            if model == "tiny@1":
                os.kill(service.children()["web-0"], signal.SIGKILL)
                await_ready(service)
                assert service.get("/v1/models").json["default"] == "other", "the restarted process reads it"
            before = [len(client.answers) for client in clients]
            set_default(service, model)
            # Each client gets answers that were asked for after the switch.
            deadline_s = time.monotonic() + 60
            while any(len(c.answers) < n + 3 for c, n in zip(clients, before, strict=True)):
                assert time.monotonic() < deadline_s
                time.sleep(0.01)
            seen[ran(service.classify(RED).json)] += 1
    finally:
        for client in clients:
            client.stopped.set()
        for client in clients:
            client.join()
    assert seen == {"tiny@1": 1, "tiny@2": 2, "other@7": 1}
    assert [client.problems for client in clients] == [[]] * 4
    assert {model for client in clients for model in client.answers} == {"tiny@1", "tiny@2", "other@7"}
    jobs = {job_id: model for client in clients for job_id, model in client.accepted.items()}
    assert set(jobs.values()) == {"tiny@1", "tiny@2", "other@7"}
    assert {job_id: ran(outcome(service, job_id)) for job_id in jobs} == jobs, (
        "chosen when they were accepted"
    )


def compared(service: RunningService) -> Counter[str]:
    text = service.get("/metrics").body.decode()
    found = re.findall(r'^beholder_shadow_comparisons_total{result="(\w+)"} (\S+)$', text, re.MULTILINE)
    return Counter({result: int(float(count)) for result, count in found})


def await_compared(service: RunningService, before: Counter[str], count: int) -> Counter[str]:
    """Return the results of so many more comparisons, once there are as many."""
    deadline_s = time.monotonic() + 60
    while (found := compared(service) - before).total() < count:
        assert time.monotonic() < deadline_s, (found, count)
        time.sleep(0.05)
    return found


def test_a_shadow_under_load_changes_no_answer_and_every_job_is_accounted_for(
    shadowed: RunningService,
) -> None:
    clients = [Client(shadowed) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        deadline_s = time.monotonic() + 60
        while any(len(client.answers) < 10 for client in clients):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    finally:
        for client in clients:
            client.stopped.set()
        for client in clients:
            client.join()
    answers = [model for client in clients for model in client.answers]
    accepted = [job_id for client in clients for job_id in client.accepted]
    answers += [ran(outcome(shadowed, job_id)) for job_id in accepted]
    assert set(answers) == {"tiny@1"}
    found = await_compared(shadowed, Counter(), len(answers))
    assert found["agreed"] + found["skipped"] == found.total() == len(answers)
    # The share is 1, and an answer is skipped only while 64 others wait in its worker to be compared.
    assert found["agreed"] >= min(len(answers), 64)


def test_a_shadow_that_disagrees_is_reported_with_both_labels(shadowed: RunningService) -> None:
    set_default(shadowed, "tiny@2")
    before = compared(shadowed)
    jobs = [shadowed.classify(image(colour)).json for colour in COLOURS]
    assert {ran(job) for job in jobs} == {"tiny@2"}
    assert shadowed.classify(RED, "?model=other").status == 200, "which names a model, so it is not compared"
    assert await_compared(shadowed, before, len(jobs)) == {"disagreed": len(jobs)}
    line = shadowed.await_line(f"worker.shadow_disagreed.*job_id={jobs[-1]['id']}.*")
    assert "answered=dark of tiny@2 found=dark of tiny@1" in line[0]
