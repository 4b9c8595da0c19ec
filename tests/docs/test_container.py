"""The Containerfile and the Compose file name files, settings and ports that exist."""

import re
from typing import Any

import yaml

from beholder.config import DECLARED, load_settings
from docs.pages import ROOT, read

CONTAINERFILE = read("Containerfile")
COMPOSE: dict[str, Any] = yaml.safe_load(read("compose.yaml"))


def environment() -> dict[str, str]:
    """Return the variables of the image."""
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", CONTAINERFILE, re.MULTILINE)
    return dict(word.split("=", 1) for word in block.replace("\\\n", " ").split())


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    sources = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE)
        for name in line.split()
    }
    kept = {line.removeprefix("!") for line in read(".dockerignore").splitlines() if line[:1] == "!"}
    assert sources == kept
    assert all((ROOT / name).exists() for name in sources)


def test_the_image_s_settings_are_allowed_and_ask_for_keys() -> None:
    variables = {name: value for name, value in environment().items() if name.startswith("BEHOLDER_")}
    settings = load_settings(variables, {}).settings
    assert (settings.web.host, settings.web.keys) == ("0.0.0.0", "on")  # noqa: S104
    assert f"VOLUME {settings.deployment.data_dir}\n" in CONTAINERFILE
    assert f"EXPOSE {settings.web.port}\n" in CONTAINERFILE
    assert re.search(r"^USER (?!root)\w+$", CONTAINERFILE, re.MULTILINE)


def test_the_compose_file_opens_ports_to_this_machine_alone_and_mounts_what_exists() -> None:
    service, prometheus = COMPOSE["services"]["beholder"], COMPOSE["services"]["prometheus"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert set(service["environment"]) <= {f"BEHOLDER_{name.upper()}" for name in DECLARED}
    assert f"data:{environment()['BEHOLDER_DATA_DIR']}" in service["volumes"]
    (folder,) = (one.split(":")[0] for one in prometheus["volumes"] if one.startswith("."))
    assert (ROOT / folder / "prometheus.yml").exists()
    drain_s = load_settings({}, {}).settings.worker.drain_s
    assert int(service["stop_grace_period"].removesuffix("s")) > 2 * drain_s


def test_both_services_of_the_compose_file_come_back_after_a_reboot() -> None:
    assert {one.get("restart") for one in COMPOSE["services"].values()} == {"unless-stopped"}
