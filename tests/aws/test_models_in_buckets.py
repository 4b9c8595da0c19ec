"""Models of a bucket, on an emulator: commands, a service, processes that start at once, deploy's bundle."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aws.counting import CountingProxy
from aws.emulators import Emulator, emulator
from beholder.cli.deploy import _model_folder
from beholder.cli.main import beholder
from beholder.store import s3_reader
from helpers.service import RunningService
from tiny_models import tiny_graph, write_folder

pytestmark = pytest.mark.aws


@dataclass
class Scene:
    """Models in a bucket, and what counts the requests to it."""

    aws: Emulator
    proxy: CountingProxy
    bucket: str
    data_dir: Path

    def put(self, folder: Path, prefix: str) -> str:
        """Copy a model folder, and return its address."""
        for path in folder.iterdir():
            self.aws.client("s3").put_object(
                Bucket=self.bucket, Key=f"{prefix}/{path.name}", Body=path.read_bytes()
            )
        return f"s3://{self.bucket}/{prefix}"

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(beholder, ["models", *arguments, "--data-dir", str(self.data_dir)])


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    aws = emulator("moto")
    with CountingProxy(aws.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield Scene(aws, proxy, aws.make_bucket(), tmp_path / "data")


def test_the_commands_take_an_address(
    scene: Scene, tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a graph that is read in several pieces
    monkeypatch.setattr(s3_reader, "_PIECE_BYTES", 100)
    address = scene.put(write_folder(tmp_path / "tiny"), "models/tiny")
    scene.put(write_folder(tmp_path / "two", version="2"), "models/tiny@2")

    gets = []
    for _ in range(2):
        before = scene.proxy.calls["s3:GetObject"]
        shown = scene.run("show", address)
        gets.append(scene.proxy.calls["s3:GetObject"] - before)
    listed = scene.run("list", f"s3://{scene.bucket}/models", "--json")
    tested = scene.run("test", address, str(samples / "coffee.jpg"))
    exported = scene.run("export", address, str(tmp_path / "copy.zip"))

    assert json.loads(shown.output)["name"] == "tiny"
    assert [json.loads(line)["version"] for line in listed.output.splitlines()] == ["1", "2"]
    assert "tiny 1: 4 classes" in tested.output
    assert (tmp_path / "copy.zip").exists(), exported.output
    # The graph is fetched once: a request tells its size, then each piece has one.
    assert gets[0] - gets[1] == 1 + -(-len(tiny_graph()) // 100)


def test_what_cannot_be_fetched_is_a_sentence(scene: Scene, tmp_path: Path) -> None:
    address = scene.put(write_folder(tmp_path / "tiny"), "wrong")
    scene.aws.client("s3").put_object(Bucket=scene.bucket, Key="wrong/model.onnx", Body=b"another")

    for wrong, words in {
        address: "model.onnx has sha256",
        f"s3://{scene.bucket}/missing": "has no model.toml",
        f"s3://{scene.bucket}-missing/tiny": "NoSuchBucket",
    }.items():
        done = scene.run("show", wrong)
        assert words in str(done.exception), wrong
    assert "no folder below it has one" in str(scene.run("list", f"s3://{scene.bucket}/missing").exception)
    assert "may not be read" in str(scene.run("list", f"s3://{scene.bucket}-missing").exception)


def test_processes_that_start_at_once_fetch_one_graph(scene: Scene, tmp_path: Path) -> None:
    address = scene.put(write_folder(tmp_path / "tiny"), "tiny")
    command = [sys.executable, "-m", "beholder", "models", "show", address, "--data-dir", str(scene.data_dir)]

    started = [subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ}) for _ in range(2)]
    shown = [process.communicate(timeout=60)[0] for process in started]

    assert [json.loads(text)["version"] for text in shown] == ["1", "1"]
    # model.toml and labels.txt for each process, and the graph once.
    assert scene.proxy.calls["s3:GetObject"] == 5


def test_a_service_serves_versions_and_the_default_from_a_bucket(scene: Scene, tmp_path: Path) -> None:
    one = scene.put(write_folder(tmp_path / "1"), "models/tiny@1")
    two = scene.put(write_folder(tmp_path / "2", version="2"), "models/tiny@2")
    photo = (Path(__file__).parents[2] / "samples" / "coffee.jpg").read_bytes()

    with RunningService(scene.data_dir, model=f"{two},{one},efficientnet-lite0", workers=1) as service:
        models = service.request("GET", "/v1/models").json
        answers = [
            service.request("POST", f"/v1/classify{query}", photo).json
            for query in ("", "?model=tiny@1", "?model=efficientnet-lite0")
        ]

    assert (models["default"], models["default_version"]) == ("tiny", "2")
    ran = [(one["model"], one["model_version"]) for one in answers]
    assert ran == [("tiny", "2"), ("tiny", "1"), ("efficientnet-lite0", "0.1.0")]


def test_deploy_takes_the_folder_into_the_bundle(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHOLDER_DATA_DIR", str(scene.data_dir))
    address = scene.put(write_folder(tmp_path / "tiny", version="2"), "tiny")

    folder = _model_folder(address, "us-east-1")

    assert folder is not None
    # The bundle calls a model by its folder, and so do the instances.
    assert folder.name == "tiny@2"
    assert {path.name for path in folder.iterdir()} == {"model.toml", "model.onnx", "labels.txt"}
