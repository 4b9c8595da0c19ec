"""API keys with real processes: made, used, listed and revoked beside a running service."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.service import RunningService

pytestmark = pytest.mark.slow

REVOKED_S_MAX = 30.0


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("locked"), keys="on", workers=1) as running:
        yield running


def beholder(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BEHOLDER_")}
    return subprocess.run(
        [sys.executable, "-m", "beholder", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=clean | environment,
    )


def keys(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return beholder("keys", *arguments, "--data-dir", str(data_dir))


def test_a_key_is_made_used_listed_and_revoked_while_the_service_runs(
    locked: RunningService, samples: Path
) -> None:
    photo = (samples / "cat.jpg").read_bytes()
    assert locked.classify(photo).status == 401

    made = keys(locked.data_dir, "create", "phone")
    assert made.returncode == 0
    key = made.stdout.strip()
    key_id = key.split("_")[1]

    _await_status(locked, key, 200)
    answer = locked.classify(photo, x_api_key=key)
    assert (answer.status, answer.json["status"]) == (200, "succeeded")
    assert locked.get(answer.json["urls"]["get"], Authorization=f"Bearer {key}").status == 200
    assert locked.get("/metrics", Authorization=f"Bearer {key}").status == 403

    listed = keys(locked.data_dir, "list")
    assert key_id in listed.stdout
    assert key.split("_")[2] not in listed.stdout
    (document,) = map(json.loads, keys(locked.data_dir, "list", "--json").stdout.splitlines())
    assert (document["id"], document["name"], document["scopes"]) == (key_id, "phone", ["read", "write"])
    assert "sha256" not in document

    assert keys(locked.data_dir, "revoke", key_id).returncode == 0
    _await_status(locked, key, 401)
    again = keys(locked.data_dir, "revoke", key_id)
    assert (again.returncode, key_id in again.stderr) == (2, True)
    assert not [line for line in locked.lines if key.split("_")[2] in line]


def _await_status(service: RunningService, key: str, status: int) -> None:
    until_s = time.monotonic() + REVOKED_S_MAX
    while service.get("/v1/models", Authorization=f"Bearer {key}").status != status:
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_a_key_has_the_scopes_and_the_end_that_its_maker_says(locked: RunningService) -> None:
    made = keys(locked.data_dir, "create", "prometheus", "--scope", "admin", "--expires", "90d")
    key = made.stdout.strip()
    try:
        assert "admin" in made.stderr
        assert "read" not in made.stderr
        documents = map(json.loads, keys(locked.data_dir, "list", "--json").stdout.splitlines())
        (document,) = [one for one in documents if one["id"] == key.split("_")[1]]
        assert document["expires_at"] > document["created_at"]
    finally:
        keys(locked.data_dir, "revoke", key.split("_")[1])


def test_a_key_for_an_aws_sdk_is_printed_as_its_credentials_too(tmp_path: Path) -> None:
    made = keys(tmp_path, "create", "camera", "--scope", "aws")
    key, key_id, secret = made.stdout.splitlines()
    assert key_id == f"AWS_ACCESS_KEY_ID={key.split('_')[1]}"
    digest = hashlib.sha256(key.split("_")[2].encode()).hexdigest()
    assert secret == f"AWS_SECRET_ACCESS_KEY={digest}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "x", "--expires", "soon"),
        ("create", "x", "--expires", "forever"),
        ("create", ""),
        ("revoke", "x"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments: tuple[str, ...], tmp_path: Path) -> None:
    refused = keys(tmp_path, *arguments)
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert refused.stderr.startswith("beholder: ")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["up", "web"])
def test_an_open_service_beyond_this_machine_is_refused_at_its_start(command: str, tmp_path: Path) -> None:
    refused = beholder(command, "--data-dir", str(tmp_path), "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    assert refused.returncode == 2
    assert "--keys on" in refused.stderr
    assert "--keys open" in refused.stderr


def test_the_demo_says_that_it_sends_no_key(tmp_path: Path, samples: Path) -> None:
    refused = beholder("demo", str(samples), "--data-dir", str(tmp_path), "--port", "0", BEHOLDER_KEYS="on")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--keys off" in refused.stderr


def test_a_client_s_key_in_the_environment_is_no_setting() -> None:
    asked = beholder("config", "--json", BEHOLDER_API_KEY="bhk_secret")
    assert asked.returncode == 0
    assert "bhk_secret" not in asked.stdout


def test_the_workload_generator_sends_a_key_and_reports_none(locked: RunningService, samples: Path) -> None:
    key = keys(locked.data_dir, "create", "load").stdout.strip()
    line = ["load", "--image_folder", str(samples), "--url", f"{locked.url}/v1/classify", "--json", "--quiet"]
    _await_status(locked, key, 200)

    by_environment = beholder(*line, BEHOLDER_API_KEY=key)
    by_option = beholder(*line, "--key", key, "--report", str(locked.data_dir / "report.html"))
    without = beholder(*line)

    assert (by_environment.returncode, by_option.returncode, without.returncode) == (0, 0, 1)
    assert "401" in without.stdout
    report = (locked.data_dir / "report.html").read_text(encoding="utf-8")
    assert key.split("_")[2] not in report + by_option.stdout + by_option.stderr


def test_classify_by_a_service_prints_what_classify_alone_prints(
    locked: RunningService, samples: Path, tmp_path: Path
) -> None:
    key = keys(locked.data_dir, "create", "classify").stdout.strip()
    _await_status(locked, key, 200)
    (tmp_path / "bad.jpg").write_text("no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    line = ["classify", str(samples), str(tmp_path), "--top-k", "1", "--min-confidence", "0.05", "--csv"]

    here = beholder(*line)
    there = beholder(*line, "--url", f"{locked.url}/", BEHOLDER_API_KEY=key)
    without = beholder(*line, "--url", locked.url)

    def labels(text: str) -> list[list[str]]:
        # Without confidences: they differ in their last digits by how many images the model took at once.
        return [row.split(",")[:3] for row in text.splitlines() if row.endswith(",")]

    def errors(text: str) -> dict[str, str]:
        rows = [row.split(",") for row in text.splitlines()[1:]]
        return {Path(row[0]).name: row[5] for row in rows if row[5]}

    assert here.returncode == there.returncode == 1
    assert labels(here.stdout) == labels(there.stdout) != []
    assert errors(there.stdout) == {"bad.jpg": "image_type_unsupported", "empty.jpg": "image_missing"}
    assert "bad.jpg" in there.stderr
    assert without.returncode == 2
    assert "BEHOLDER_API_KEY" in without.stderr
