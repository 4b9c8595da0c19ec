"""`beholder service`: the unit that it writes, what it tells systemd, and what it leaves."""

import configparser
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aws.emulators import miss
from beholder.cli import systemd
from beholder.cli.main import beholder
from beholder.cli.unit import UNIT, unit_text
from beholder.errors import BackendError, ConfigError

# Plays systemctl: writes down its arguments, and answers `show` as systemd does.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> {calls}
case "$*" in
  *show*) printf 'ActiveState={state}\\nSubState=running\\nUnitFileState=enabled\\nMainPID=4711\\n'
          printf 'NRestarts=2\\nActiveEnterTimestamp=Sat 2026-11-28\\nResult=success\\n' ;;
  *{fails}*) echo 'Job failed.' >&2; exit 1 ;;
esac
"""

Run = Callable[..., Result]


def parsed(text: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    return unit


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with systemd, and a user whose folders are below this one."""
    (tmp_path / "bin").mkdir()
    play(tmp_path)
    monkeypatch.setattr(systemd, "_BOOTED", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("BEHOLDER_DATA_DIR", str(tmp_path / "share" / "beholder"))
    return tmp_path


def play(home: Path, *, state: str = "active", fails: str = "nothing") -> None:
    program = home / "bin" / "systemctl"
    program.write_text(SYSTEMCTL.format(calls=home / "calls", state=state, fails=fails), encoding="utf-8")
    program.chmod(0o755)


def calls(home: Path) -> list[str]:
    return (home / "calls").read_text(encoding="utf-8").splitlines()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(beholder, ["service", *arguments])


# --- the unit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--user",)], ids=["machine", "user"])
def test_systemd_reads_the_unit_that_is_printed(flags: tuple[str, ...], tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        miss("systemd-analyze is not installed; apt-get install systemd")
    # given
    path = tmp_path / UNIT
    path.write_text(run("install", "--print", "--port", "8081", *flags).stdout, encoding="utf-8")
    # when
    verify = ["systemd-analyze", "verify", "--man=no", *flags, path]
    told = subprocess.run(verify, capture_output=True, text=True, check=False)
    # then
    assert [line for line in told.stderr.splitlines() if UNIT in line] == []
    assert "--port 8081" in path.read_text(encoding="utf-8")


def test_the_unit_of_the_machine_exposes_little(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        miss("systemd-analyze is not installed; apt-get install systemd")
    path = tmp_path / UNIT
    path.write_text(run("install", "--print").stdout, encoding="utf-8")
    # Of 100; `systemd-analyze security` calls less than 20 "OK", which is its best but for a service alone.
    ask = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", path]
    told = subprocess.run(ask, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_unit_of_the_machine_has_a_user_a_state_folder_and_a_watchdog() -> None:
    unit = parsed(run("install", "--print").stdout)["Service"]
    assert unit["ExecStart"] == f"{sys.executable} -P -m beholder up --data-dir /var/lib/beholder"
    expected = {
        "Type": "notify",
        "NotifyAccess": "all",
        "WatchdogSec": "60",
        "User": "beholder",
        "StateDirectory": "beholder",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "NoNewPrivileges": "yes",
        "KillMode": "mixed",
        "RestartPreventExitStatus": "2",
    }
    assert {name: unit[name] for name in expected} == expected


def test_the_unit_of_a_user_has_the_user_s_data_folder_and_nothing_that_needs_rights(home: Path) -> None:
    unit = parsed(run("install", "--print", "--user").stdout)
    assert unit["Service"]["ExecStart"].endswith(f"--data-dir {home / 'share' / 'beholder'}")
    assert unit["Install"]["WantedBy"] == "default.target"
    assert unit["Service"]["NoNewPrivileges"] == "yes"
    assert not {"User", "StateDirectory", "ProtectSystem", "PrivateTmp", "CapabilityBoundingSet"} & set(
        unit["Service"]
    )


def test_a_stop_takes_longer_than_both_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHOLDER_DRAIN_S", "100")
    monkeypatch.setenv("BEHOLDER_SHUTDOWN_DELAY_S", "15")
    assert parsed(run("install", "--print").stdout)["Service"]["TimeoutStopSec"] == "245"


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("50%", '"50%%"'),
        ("$HOME", '"$$HOME"'),
        ('a"b\\', '"a\\"b\\\\"'),
        ("it's", '"it\'s"'),
        ("", '""'),
    ],
)
def test_words_reach_the_program_as_they_are(word: str, written: str) -> None:
    text = unit_text(("/bin/true", word), is_user=False, stop_s=1)
    assert f"\nExecStart=/bin/true {written}\n" in text


def test_wrong_settings_are_refused_before_anything_is_written(home: Path) -> None:
    result = run("install", "--user", "--port", "high")
    assert isinstance(result.exception, ConfigError)
    assert not (home / "calls").exists()
    assert not (home / "config").exists()


# --- installing ---------------------------------------------------------------------------------------------


def test_install_writes_the_unit_and_starts_it_and_may_be_repeated(home: Path) -> None:
    path = home / "config" / "systemd" / "user" / UNIT
    for port in ("8081", "8082"):
        result = run("install", "--user", "--port", port)
        assert result.exit_code == 0, result.output
        assert f"--port {port}" in path.read_text(encoding="utf-8")
        assert str(home / "share" / "beholder") in result.output
    once = ["--user daemon-reload", f"--user enable {UNIT}", f"--user restart {UNIT}"]
    assert calls(home) == once * 2


def test_a_service_that_does_not_start_is_reported_with_where_its_log_is(home: Path) -> None:
    play(home, fails="restart")
    result = run("install", "--user")
    assert isinstance(result.exception, BackendError)
    assert f"journalctl --user -u {UNIT}" in result.exception.message


@pytest.mark.parametrize(("is_good", "words"), [(True, "and runs"), (False, "but does not start either")])
def test_a_unit_that_does_not_start_gives_way_to_the_one_before(
    home: Path, *, is_good: bool, words: str
) -> None:
    # given
    run("install", "--user", "--port", "8081")
    unit = home / "config" / "systemd" / "user" / UNIT
    former = unit.read_text(encoding="utf-8")
    program = home / "bin" / "systemctl"
    fails = f"! grep -q 8081 {unit}" if is_good else "true"
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {home}/calls\ncase "$*" in *restart*) if {fails}; then exit 1; fi ;; esac'
    )
    # when
    result = run("install", "--user", "--port", "8082")
    # then
    assert isinstance(result.exception, BackendError)
    assert result.exception.message.endswith(f"; the unit that was there before is back, {words}")
    assert unit.read_text(encoding="utf-8") == former
    assert [one for one in calls(home) if "restart" in one] == [f"--user restart {UNIT}"] * 3


def test_what_systemctl_refuses_is_told_in_its_words(home: Path) -> None:
    play(home, fails="daemon-reload")
    result = run("install", "--user")
    assert isinstance(result.exception, BackendError)
    assert result.exception.message == "systemd: daemon-reload: Job failed."


def test_uninstall_leaves_the_data_and_says_so_and_may_be_repeated(home: Path) -> None:
    # given
    run("install", "--user")
    photo = home / "share" / "beholder" / "photo.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"x")
    # when
    first, second = run("uninstall", "--user"), run("uninstall", "--user")
    # then
    assert calls(home)[-2:] == [f"--user disable --now {UNIT}", "--user daemon-reload"]
    assert "stopped and removed" in first.output
    assert "nothing to remove" in second.output
    for result in (first, second):
        assert result.exit_code == 0
        assert f"the data stays in {photo.parent}" in result.output
    assert photo.exists()
    assert not (home / "config" / "systemd" / "user" / UNIT).exists()


@pytest.mark.parametrize(("state", "exit_status"), [("active", 0), ("failed", 1)])
def test_status_says_what_systemd_says(home: Path, state: str, exit_status: int) -> None:
    # given
    run("install", "--user")
    play(home, state=state)
    # when
    told, shown = run("status", "--user", "--json"), run("status", "--user")
    # then
    assert json.loads(told.output) == {
        "unit": str(home / "config" / "systemd" / "user" / UNIT),
        "state": f"{state} (running)",
        "at_boot": True,
        "since": "Sat 2026-11-28",
        "process": 4711,
        "restarts": 2,
        "last_result": "success",
    }
    assert told.exit_code == shown.exit_code == exit_status
    assert f"{state} (running)" in shown.output


# --- where it cannot be ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["install", "uninstall", "status"])
def test_without_systemd_one_sentence_refuses(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_BOOTED", home / "none")
    result = run(command, "--user")
    assert isinstance(result.exception, ConfigError)
    assert result.exception.message.startswith("systemd does not run on this machine; ")
    assert not (home / "calls").exists()


def test_a_service_of_the_machine_needs_root(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for command in ("install", "uninstall"):
        result = run(command)
        assert isinstance(result.exception, ConfigError)
        assert "--user" in result.exception.message
    assert not (home / "calls").exists()


def test_a_python_in_a_home_folder_is_none_for_the_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "executable", str(Path("/", "home", "ada", ".venv", "bin", "python")))
    result = run("install")
    assert isinstance(result.exception, ConfigError)
    assert "home folder" in result.exception.message
    assert not (home / "calls").exists()
