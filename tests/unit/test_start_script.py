"""What the start of an instance does before the service begins."""

import os
import re
import subprocess
from importlib import resources
from pathlib import Path

import pytest

# Answers as the metadata service does; to S3 it "sends" the credentials of the request, and the body.
CURL = """#!/bin/bash
for one; do
  case $last in -K) config=$one ;; -T) body=$one ;; esac
  last=$one
done
case $last in
  */api/token) echo token ;;
  */security-credentials/) echo web-role ;;
  */security-credentials/web-role) echo '{"AccessKeyId": "ASIANEW", "SecretAccessKey":"s", "Token": "new"}' ;;
  *) (echo "$last"; cat "$config" "$body") >> sent ;;
esac
"""


def deploy_file(name: str) -> str:
    return (resources.files("beholder.deploy") / name).read_text("utf-8")


def start_script() -> str:
    return deploy_file("instance/start.sh")


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


@pytest.mark.parametrize(
    ("status", "reason", "is_ended"),
    [
        ("1", "run the service: exit-code, exited 1", False),
        ("2", "run the service: its settings are wrong", True),
    ],
    ids=["fails", "wrong-settings"],
)
def test_a_service_that_fails_after_the_credentials_of_the_boot_have_expired_tells_its_reason(
    tmp_path: Path, status: str, reason: str, *, is_ended: bool
) -> None:
    # given: what the boot left, with the credentials of that time
    stubs = {
        "curl": CURL,
        "journalctl": "#!/bin/sh\necho the last line",
        "shutdown": "#!/bin/sh\necho > ended",
    }
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in stubs.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "env").write_text("BEHOLDER_REGION=eu-west-1\nBEHOLDER_OUTPUT_BUCKET=zoo-output\n")
    (tmp_path / "curl").write_text('user = "ASIABOOT:s"\nheader = "x-amz-security-token: of the boot"\n')
    user_data = deploy_file("user_data.sh")
    functions = user_data[user_data.index("imds() {") : user_data.index('step="ask the instance metadata"')]
    lines = [one for one in start_script().splitlines() if one.startswith("declare ")]
    boot = [f"work={tmp_path}", functions, "trap - EXIT", "instance=i-1 domain=amazonaws.com", *lines]
    environ = {"PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", "\n".join(boot)], cwd=tmp_path, env=environ, check=True)

    # when: hours later
    failed = deploy_file("instance/failed.sh").replace("/run/beholder-start", str(tmp_path))
    failed = failed.replace("/etc/beholder.env", str(tmp_path / "env"))
    ended = {"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": status}
    subprocess.run(["bash", "-c", failed], cwd=tmp_path, env=environ | ended, check=False)

    # then
    sent = (tmp_path / "sent").read_text().splitlines()
    assert sent == [
        "https://zoo-output.s3.eu-west-1.amazonaws.com/fleet/failed-starts/i-1",
        'user = "ASIANEW:s"',
        'header = "x-amz-security-token: new"',
        reason,
        "the last line",
    ]
    assert (tmp_path / "ended").exists() is is_ended
