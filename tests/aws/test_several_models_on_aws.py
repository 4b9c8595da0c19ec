"""Several models on an emulator: two web processes agree on the default, and a shadow's counts reach them."""

import io
import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from aws.deployment import Deployment, Web
from aws.emulators import emulator
from tiny_models import LABELS, write_folder

pytestmark = pytest.mark.aws


def ask(web: Web, method: str, path: str, body: bytes | None = None) -> Any:
    headers = {"content-type": "application/json" if method == "PUT" else "application/octet-stream"}
    request = urllib.request.Request(web.url + path, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


def comparisons(web: Web, result: str) -> float:
    with urllib.request.urlopen(f"{web.url}/metrics", timeout=60) as response:
        text = response.read().decode()
    found = re.search(rf'^beholder_shadow_comparisons_total{{result="{result}"}} (\S+)$', text, re.MULTILINE)
    assert found
    return float(found[1])


def ran(job: dict[str, Any]) -> str:
    """Return the model that a job names, once its labels say the same."""
    model = f"{job['model']}@{job['model_version']}"
    assert {label["name"].partition(" of ")[2] for label in job["result"]["labels"]} == {model}
    return model


def test_web_processes_agree_on_the_default_and_report_the_shadow(tmp_path: Path) -> None:
    # given
    folders = []
    for version in ("1", "2"):
        labels = tuple(f"{label} of tiny@{version}" for label in LABELS)
        folders.append(write_folder(tmp_path / version, version=version, labels=labels))
    shadow = write_folder(tmp_path / "shadow", name="shadow", labels=labels)
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (255, 0, 0)).save(file, "PNG")
    image = file.getvalue()
    models = ",".join(map(str, folders))
    settings = {"model": models, "shadow": shadow, "shadow_share": 1.0}
    with Deployment(emulator("ministack"), tmp_path, **settings) as deployment:
        one, two = (deployment.start_web(f"web-{number}") for number in range(2))
        worker = deployment.start_worker()
        assert [ran(ask(web, "POST", "/v1/classify", image)) for web in (one, two)] == ["tiny@1"] * 2
        # when
        ask(one, "PUT", "/v1/models/default", b'{"model": "tiny@2"}')
        # then
        assert ran(ask(one, "POST", "/v1/classify", image)) == "tiny@2"
        deadline_s = time.monotonic() + 5
        while ask(two, "GET", "/v1/models")["default_version"] != "2":
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert ran(ask(two, "POST", "/v1/classify", image)) == "tiny@2"
        three = deployment.start_web("web-2")
        assert ran(ask(three, "POST", "/v1/classify", image)) == "tiny@2"
        # The shadow says what tiny@2 says. Each web process hears of what came since the last reply.
        worker.await_line(r"worker\.shadow_disagreed.*found=red of tiny@2")
        deadline_s = time.monotonic() + 60
        wanted = {"agreed": 3, "disagreed": 2, "failed": 0, "skipped": 0}
        found: dict[str, float] = {}
        while sum(found.values()) < sum(wanted.values()):
            assert time.monotonic() < deadline_s, found
            time.sleep(0.1)
            found = {result: sum(comparisons(web, result) for web in (one, two, three)) for result in wanted}
        assert found == wanted
