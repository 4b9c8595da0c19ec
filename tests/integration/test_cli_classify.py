"""`beholder classify` and `beholder models` as a person runs them."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tiny_models import smallest_graphs, write_folder

AS_IS = 'preprocessing = "as-is"'
CAT_NAMES = {"tiger cat", "tabby", "Egyptian cat"}


def run(*arguments: str | Path, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "beholder", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        env=os.environ | environment,
    )


def test_a_folder_gives_json_lines_and_status_0(samples: Path) -> None:
    done = run("classify", samples, "--top-k", "2")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert {Path(row["file"]).name for row in rows} == {path.name for path in samples.glob("*.jpg")}
    by_name = {Path(row["file"]).name: row["labels"] for row in rows}
    assert by_name["cat.jpg"][0]["name"] in CAT_NAMES
    assert all(len(labels) == 2 for labels in by_name.values())


def test_a_failed_image_is_named_and_stops_no_other(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no image")
    done = run("classify", samples / "cat.jpg", tmp_path, samples / "coffee.jpg", "--csv", "--top-k", "1")
    rows = list(csv.DictReader(done.stdout.decode().splitlines()))
    assert done.returncode == 1
    assert [row["error"] for row in rows] == ["", "image_type_unsupported", ""]
    assert rows[0]["name"] in CAT_NAMES
    assert "bad.jpg" in done.stderr.decode()


@pytest.mark.parametrize(("suffix", "how"), [(".jsonl", signal.SIGKILL), (".csv", signal.SIGINT)])
def test_a_run_that_is_killed_goes_on_where_it_was(suffix: str, how: signal.Signals, tmp_path: Path) -> None:
    write_folder(tmp_path / "tiny", graph=smallest_graphs()["convolution"][0], preprocessing=AS_IS)
    photos = []
    for number in range(60):
        photos.append(tmp_path / f"{number:03}.png")
        Image.new("RGB", (64, 64), (4 * number, 0, 0)).save(photos[-1])
    out = tmp_path / f"out{suffix}"
    # It waits for standard input in the midst of them.
    command = ("classify", *photos[:30], "-", *photos[30:], "--model", tmp_path / "tiny", "--top-k", "1")
    begun = [sys.executable, "-m", "beholder", *map(str, command), "--resume", str(out)]
    with subprocess.Popen(begun, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not out.exists() or out.read_bytes().count(b"\n") < 30:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
    assert (b"the same command goes on from there" in said) == (how == signal.SIGINT)
    image = photos[0].read_bytes()
    done = run(*command, "--resume", out, stdin=image)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    whole = run(*command, "--csv" if suffix == ".csv" else "--json", stdin=image)
    assert out.read_bytes() == whole.stdout
    assert whole.stdout.count(b"\n") == 61 + (suffix == ".csv")


def test_a_finished_run_has_nothing_to_resume(samples: Path, tmp_path: Path) -> None:
    command = ("classify", samples / "cat.jpg", samples / "coffee.jpg", "--resume", tmp_path / "out.jsonl")
    assert run(*command).returncode == 0
    before = (tmp_path / "out.jsonl").read_bytes()
    again = run(*command)
    assert again.returncode == 0
    assert b"has a result of each of the 2 images" in again.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert run(*command, "--csv").returncode == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_run_that_is_resumed_ends_with_1_for_what_failed_before(suffix: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "tiny", graph=smallest_graphs()["convolution"][0], preprocessing=AS_IS)
    bad, good = tmp_path / "bad.png", tmp_path / "good.png"
    bad.write_text("no image")
    Image.new("RGB", (64, 64)).save(good)
    options = ("--model", tmp_path / "tiny", "--resume", tmp_path / f"out{suffix}")
    assert run("classify", bad, good, *options).returncode == 1
    again = run("classify", bad, good, *options)
    assert again.returncode == 1
    assert b"1 image failed in an earlier run" in again.stderr
    # Only the images of this command count.
    assert run("classify", good, *options).returncode == 0


def test_a_glob_and_standard_input(samples: Path) -> None:
    cat = (samples / "cat.jpg").read_bytes()
    done = run("classify", f"{samples}/co*.jpg", "-", "--min-confidence", "0.3", stdin=cat)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["file"]).name for row in rows] == ["coffee.jpg", "-"]
    assert rows[1]["labels"][0]["name"] in CAT_NAMES
    assert all(label["confidence"] >= 0.3 for row in rows for label in row["labels"])


def test_paths_that_lead_nowhere_are_all_named(tmp_path: Path) -> None:
    done = run("classify", tmp_path / "none.jpg", tmp_path)
    assert done.returncode == 2
    assert "none.jpg" in done.stderr.decode()
    assert "holds no image" in done.stderr.decode()


def test_a_model_is_imported_listed_shown_tried_and_used(samples: Path, tmp_path: Path) -> None:
    graph, labels = tmp_path / "mean.onnx", tmp_path / "labels.txt"
    onnx.save(_mean_colour_model(), graph)
    labels.write_text("red\ngreen\nblue\n")
    data = ("--data-dir", tmp_path / "data")
    torchvision = ("--preprocessing", "torchvision")
    check = ("--check", samples, "--expect", tmp_path / "expected.csv")
    (tmp_path / "expected.csv").write_text("file,index,name\ncat.jpg,0,red\n")
    imported = run(
        "models", "import", graph, "--labels", labels, "--name", "colour", *torchvision, *check, *data
    )
    assert imported.returncode == 0, imported.stderr.decode()
    assert "colour" in run("models", "list", *data).stdout.decode()
    assert json.loads(run("models", "show", "colour", *data).stdout)["classes"] == 3
    assert "centre-crop to 224 x 224" in imported.stdout.decode()
    assert "3 classes, logits" in imported.stdout.decode()
    assert "answered; of 1 known" in imported.stdout.decode()
    assert json.loads(run("models", "show", "colour", *data).stdout)["report"]["photos"]["known"] == 1
    listed = [json.loads(line) for line in run("models", "list", "--json", *data).stdout.splitlines()]
    assert {one["name"]: one["problems"] for one in listed} == {"efficientnet-lite0": [], "colour": []}
    assert "3 classes" in run("models", "test", "colour", samples / "cat.jpg", *data).stdout.decode()
    by_path = tmp_path / "data" / "models" / "colour"
    tried = json.loads(run("models", "test", by_path, samples / "cat.jpg", "--json", *data).stdout)
    assert (tried["classes"], len(tried["answers"]), tried["failures"]) == (3, 2, {})
    used = run("classify", samples / "cat.jpg", "--model", "colour", "--top-k", "3", *data)
    assert {label["name"] for label in json.loads(used.stdout)["labels"]} == {"red", "green", "blue"}
    again = run("models", "import", graph, "--labels", labels, "--name", "colour", *data)
    assert again.returncode == 2
    assert "models remove colour" in again.stderr.decode()
    exported = run("models", "export", "colour", tmp_path / "out", "--json", *data)
    assert json.loads(exported.stdout)["destination"] == str(tmp_path / "out")
    removed = run("models", "remove", "colour", "--json", *data)
    assert json.loads(removed.stdout) == {"name": "colour", "folder": str(by_path)}
    back = run("models", "import", tmp_path / "out", "--json", *data)
    made = {"name": "colour", "version": "1", "classes": 3, "folder": str(by_path)}
    assert json.loads(back.stdout) == made
    assert run("models", "remove", "colour", *data).returncode == 0
    assert "colour" not in run("models", "list", *data).stdout.decode()


def test_an_image_that_a_model_cannot_run_stops_no_other(tmp_path: Path) -> None:
    write_folder(tmp_path / "tiny", graph=smallest_graphs()["convolution"][0], preprocessing=AS_IS)
    files = []
    for number, side in enumerate((64, 16, 64, 31, 64)):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGB", (side, side), (0, 255, 0) if number else (255, 0, 0)).save(files[-1])
    done = run("classify", *files, "--model", tmp_path / "tiny", "--top-k", "1")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [row["labels"][0]["name"] for row in rows if "labels" in row] == ["red", "green", "green"]
    assert [row["error"]["code"] for row in rows if "error" in row] == ["image_size_unsupported"] * 2


def test_a_failed_import_is_reported_with_the_cause(tmp_path: Path) -> None:
    onnx.save(_mean_colour_model(), tmp_path / "model.onnx")
    assert "--labels" in run("models", "import", tmp_path / "model.onnx", "--name", "x").stderr.decode()
    other = run("models", "import", tmp_path / "model.h5", "--name", "x")
    assert other.returncode == 2
    assert "cannot be imported; give a folder with config.json" in other.stderr.decode()


@pytest.mark.parametrize(
    ("file", "options", "words"),
    [
        ("m.onnx", ("--mean", "3"), "--mean is for --preprocessing centre-crop"),
        ("m.onnx", ("--preprocessing", "torchvision", "--scale", "3"), "--scale is for --preprocessing"),
        ("m.onnx", ("--preprocessing", "as-is", "--size", "64"), "--size is not for --preprocessing as-is"),
        ("m.onnx", ("--preprocessing", "centre-crop", "--scale", "0"), "scale divides, so it cannot be 0"),
        ("m.onnx", ("--preprocessing", "centre-crop", "--mean", "nan"), "mean must be a number"),
        ("m.onnx", ("--expect", "some.csv"), "--expect is for the photos of --check"),
        ("m.onnx", ("--size", "0"), "0 is not in the range 1<=x<=4096"),
        ("m.pth", ("--size", "64", "--source", "x", "--logits"), "--logits is for ONNX files"),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(
    tmp_path: Path, file: str, options: tuple[str, ...], words: str
) -> None:
    onnx.save(_mean_colour_model(), tmp_path / file)
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    labels = ("--labels", tmp_path / "labels.txt", "--name", "x", "--data-dir", tmp_path / "data")
    done = run("models", "import", tmp_path / file, *labels, *options)
    assert done.returncode == 2
    assert words in done.stderr.decode()


def test_a_model_without_a_name_is_no_reason_to_remove_the_others(tmp_path: Path) -> None:
    (tmp_path / "data" / "models").mkdir(parents=True)
    graph, labels = tmp_path / "mean.onnx", tmp_path / "labels.txt"
    onnx.save(_mean_colour_model(), graph)
    labels.write_text("red\ngreen\nblue\n")
    done = run("models", "import", graph, "--labels", labels, "--name", "", "--data-dir", tmp_path / "data")
    assert done.returncode == 2
    assert done.stderr.decode().startswith("beholder: the name '' cannot be used; ")


def test_every_problem_of_the_settings_is_reported_at_once() -> None:
    done = run("config", BEHOLDER_PORT="http", BEHOLDER_WORKERS="-3", BEHOLDER_COLOUR="red")
    told = done.stderr.decode()
    assert done.returncode == 2
    assert [word in told for word in ("BEHOLDER_PORT", "BEHOLDER_WORKERS", "BEHOLDER_COLOUR")] == [True] * 3


def test_config_shows_value_source_and_meaning() -> None:
    done = run("config", "--json", BEHOLDER_PORT="8123")
    port = json.loads(done.stdout)["port"]
    assert (port["value"], port["source"]) == ("8123", "BEHOLDER_PORT")
    assert "TCP port" in port["meaning"]


def _mean_colour_model() -> onnx.ModelProto:
    """Return a classifier whose three classes are the mean of each colour."""
    pool = helper.make_node("GlobalAveragePool", ["image"], ["mean"])
    flat = helper.make_node("Flatten", ["mean"], ["logits"])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 224, 224])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([pool, flat], "colour", [image], [logits])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
