"""What the start of an instance does before the service begins."""

import re
from importlib import resources


def start_script() -> str:
    return (resources.files("beholder.deploy") / "instance" / "start.sh").read_text("utf-8")


def test_background_upgrades_are_masked_and_stopped_before_the_service_starts() -> None:
    """They would take the CPU credits of the first minutes, and restart what runs."""
    script = start_script()
    named = re.search(r'^masked="([^"]+)"', script, re.MULTILINE)
    assert named

    assert {"apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"} <= set(
        named[1].split()
    )
    places = [script.index(f"systemctl {one}") for one in ("mask --quiet $masked", "stop --no-block $masked")]
    assert max(places) < script.index("systemctl start beholder ")
