"""What the walk-through through AWS shows beside commands: manifests, Terraform's files, and pictures."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from beholder.config import load_settings
from beholder.deploy.bundle_bucket import State, changes
from docs.pages import ROOT, blocks, prose, read

PAGE = "docs/walk-through.md"
PICTURES = sorted((ROOT / "docs" / "images").glob("*.svg"))
PICTURE_BYTES_MAX = 60_000


def block(language: str) -> str:
    (found,) = (one.text for one in blocks(read(PAGE)) if one.language == language)
    return found


def test_the_manifests_scale_the_worker_on_the_queue_and_let_it_drain() -> None:
    manifests: dict[str, Any] = {one["kind"]: one for one in yaml.safe_load_all(block("yaml"))}
    worker, scaled = manifests["Deployment"], manifests["ScaledObject"]["spec"]

    assert scaled["scaleTargetRef"]["name"] == worker["metadata"]["name"]
    (trigger,) = scaled["triggers"]
    assert trigger["authenticationRef"]["name"] == manifests["TriggerAuthentication"]["metadata"]["name"]
    assert trigger["type"] == "aws-sqs-queue"
    assert {"queueURL", "queueLength", "awsRegion"} <= set(trigger["metadata"])
    assert all(isinstance(one, str) for one in trigger["metadata"].values())  # KEDA takes nothing else

    pod = worker["spec"]["template"]
    assert worker["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    (container,) = pod["spec"]["containers"]
    assert container["command"][:2] == ["beholder", "worker"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    settings = load_settings(environment, {}, outputs_of=lambda *_: {}).settings
    assert pod["spec"]["terminationGracePeriodSeconds"] > 2 * settings.worker.drain_s
    assert trigger["metadata"]["queueURL"].endswith(f"/{settings.queue.input_queue}")


def test_the_plan_of_an_upgrade_has_the_lines_of_versions_that_the_code_prints() -> None:
    (shown,) = (
        one.text for one in blocks(read(PAGE)) if one.text.lstrip().startswith("$ beholder upgrade zoo")
    )
    lines = [one for one in shown.splitlines() if one.startswith("  version ")]
    image, models = "ami-0a1b2c3d4e5f60718", "efficientnet-lite0"
    state = State("", {"ImageId": image, "Models": models})
    printed = [f"  version    {one}" for one in changes(state, state, ("0.1.0", "0.1.0"))]
    assert lines == [re.sub(r"(template) \w+", r"\1 …", one) for one in printed]


def test_terraforms_file_has_whole_blocks() -> None:
    text = re.sub(r"#.*", "", block("hcl"))
    depth = 0
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.endswith("{"):
            assert depth == 0
            assert re.fullmatch(r'(data|resource) "aws_\w+" "\w+" \{', line)
        elif line != "}":
            assert re.fullmatch(r"\w+ += .+", line)
            assert depth == 1
        depth += line.count("{") - line.count("}")
    assert depth == 0


@pytest.mark.parametrize("picture", PICTURES, ids=lambda one: one.stem)
def test_the_pictures_are_small_shown_and_fetch_nothing(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 -- our own picture
    assert len(text.encode()) <= PICTURE_BYTES_MAX
    assert set(re.findall(r"https?://[^\s\"'<]+", re.sub(r"<text.*?</text>", "", text))) <= {
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",
    }
    assert f"images/{picture.name})" in prose(read(PAGE))


def test_there_are_pictures_of_deploy_status_and_destroy() -> None:
    assert {"deploy", "status", "destroy"} <= {one.stem for one in PICTURES}
