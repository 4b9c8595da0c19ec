"""What a person is told when a command cannot start: sentences and an exit status, never a traceback."""

import fcntl
import importlib
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beholder.cli import main
from beholder.cli.up import where_to_look
from beholder.cli.worker import end_on_signals
from beholder.config import DECLARED, load_settings, make_settings
from beholder.errors import ConfigError
from beholder.wiring import profile_of
from beholder.wiring.children import children
from beholder.wiring.machine import Service
from beholder.wiring.sockets import bind, url_of
from helpers.images import jpeg

Run = Callable[..., tuple[int, str, str]]

COMMAND_THAT_FAILS = """
import click
from beholder.errors import BackendUnavailable

@click.command()
def boom():
    '''Fail.'''
    raise BackendUnavailable("sqlite queue", "send", "database is locked")
"""


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Take the settings of whoever runs the tests away; give signals and logs back as they were."""
    for name in list(os.environ):
        if name.startswith("BEHOLDER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    root = logging.getLogger()
    logs, level = root.handlers[:], root.level
    yield
    root.handlers[:] = logs
    root.setLevel(level)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line as the shell does; returns its exit status, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["beholder", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        code = caught.value.code
        return (code if isinstance(code, int) else 0 if code is None else 1), written.out, written.err

    return run


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["up", "demo", "web", "worker", "config"])
def test_every_problem_with_the_settings_is_reported_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # given
    monkeypatch.setenv("BEHOLDER_BATCH_MAX", "101")
    monkeypatch.setenv("BEHOLDER_COLOUR", "red")
    flags = [] if command == "config" else ["--data-dir", "", "--model", ","]
    # when
    status, out, err = run(command, *flags)
    # then
    assert (status, out) == (2, "")
    said = err.splitlines()
    assert len(said) == 2 + len(flags) // 2
    problem = "batch_max is 101; use auto or a whole number from 1 to 100"
    assert said[0] == f"beholder: BEHOLDER_BATCH_MAX: {problem}"
    assert all(line.startswith("beholder: ") for line in said)


def test_a_missing_settings_file_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHOLDER_CONFIG", "none.toml")
    status, _, err = run("config")
    assert (status, err.count("\n")) == (2, 1)
    assert "cannot read none.toml" in err


def test_config_shows_every_setting_with_its_source(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHOLDER_PORT", "81")
    monkeypatch.setenv("COLUMNS", "200")
    status, table, _ = run("config")
    assert status == 0
    shown = json.loads(run("config", "--json")[1])
    assert list(shown) == list(DECLARED)
    assert shown["port"]["value"] == "81"
    assert shown["port"]["source"] == "BEHOLDER_PORT"
    assert shown["host"]["source"] == "default"
    for name, one in shown.items():
        row = next(line for line in table.splitlines() if line.split()[:1] == [name])
        assert one["source"] in row


def test_config_fits_80_columns_and_keeps_every_word(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # given: the longest name of a variable, and a value longer than a line
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("BEHOLDER_LAUNCH_TEMPLATE_VERSION", "7")
    monkeypatch.setenv("BEHOLDER_DATA_DIR", str(tmp_path / ("x" * 150)))
    # when
    _, table, _ = run("config")
    # then
    lines = table.splitlines()
    assert max(map(len, lines)) <= 80
    groups = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert groups == ["setting", *dict.fromkeys(one.path[0] for one in DECLARED.values())]
    names = [line.split()[0] for line in lines if re.match("  [a-z]", line)]
    assert names == list(DECLARED)
    words = set(table.split())
    for one in DECLARED.values():
        # A word that is longer than the column is folded.
        assert [word for word in one.meaning.split() if word not in words and "/spot=" not in word] == []


def test_config_drops_no_value_on_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in ("1", "24", "59"):
        monkeypatch.setenv("COLUMNS", width)
        assert {"127.0.0.1", "efficientnet-lite0", "default"} <= set(run("config")[1].split())


def test_config_s_values_can_be_given_back(run: Run) -> None:
    shown = json.loads(run("config", "--json")[1])
    environment = {f"BEHOLDER_{name.upper()}": one["value"] for name, one in shown.items()}
    assert load_settings(environment, {}).settings == load_settings(dict(os.environ), {}).settings


# --- starting -----------------------------------------------------------------------------------------------


def test_a_port_in_use_is_reported_with_what_to_do(run: Run, tmp_path: Path, taken: int) -> None:
    for command in ("up", "web"):
        status, out, err = run(command, "--port", str(taken), "--data-dir", str(tmp_path / "data"))
        assert (status, out) == (2, "")
        assert err == (
            f"beholder: port {taken} is in use by another program; stop it, or choose another with --port\n"
        )


def test_a_data_folder_that_is_a_file_is_reported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for command in ("up", "web"):
        status, _, err = run(command, "--port", "0", "--data-dir", str(tmp_path / "file"))
        assert status == 2
        assert err.startswith(f"beholder: data_dir {tmp_path / 'file'} ")
        assert err.endswith("with --data-dir\n")


def test_a_data_folder_in_use_is_reported_with_the_process_that_uses_it(run: Run, tmp_path: Path) -> None:
    # given
    with (tmp_path / "up.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4711")
        file.flush()
        # when
        status, _, err = run("up", "--port", "0", "--data-dir", str(tmp_path))
    # then
    assert status == 2
    assert f"data_dir {tmp_path} is in use by another beholder (process 4711)" in err


def test_a_start_that_failed_leaves_the_folder_free(run: Run, tmp_path: Path, taken: int) -> None:
    run("up", "--port", str(taken), "--data-dir", str(tmp_path))
    with (tmp_path / "up.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("command", ["up", "web"])
def test_an_unknown_model_is_reported_with_the_known_models(run: Run, tmp_path: Path, command: str) -> None:
    status, _, err = run(command, "--port", "0", "--data-dir", str(tmp_path), "--model", "other")
    assert status == 2
    assert "no model is named 'other'; there is efficientnet-lite0" in err


@pytest.mark.parametrize("arguments", [["demo"], ["load", "--image_folder"]])
def test_a_missing_or_empty_folder_is_reported(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    for folder in (tmp_path / "none", tmp_path):
        status, out, err = run(*arguments, str(folder))
        assert (status, out) == (2, "")
        assert str(folder) in err
        assert "--image_folder" not in err


def test_load_without_a_service_reports_that(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    status, out, err = run(
        "load", "--url", f"http://127.0.0.1:{port}/upload", "--image_folder", str(tmp_path)
    )
    assert (status, out) == (2, "")
    assert str(port) in err


def test_any_other_error_of_ours_is_a_sentence_and_a_status_of_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "command_that_fails.py").write_text(COMMAND_THAT_FAILS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "beholder.cli.boom", importlib.import_module("command_that_fails"))
    monkeypatch.setattr(sys.modules["beholder.cli.main"], "_COMMANDS", ("boom",))
    assert run("boom") == (1, "", "beholder: sqlite queue: send: database is locked\n")


# --- the parts of a start -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("a b", "host .a b. is unknown"),
        ("a" * 70, "is unknown: not a host name"),
        ("a..b", "is unknown: not a host name"),
        ("192.0.2.1", "192.0.2.1 is not an address of this machine"),
    ],
)
def test_an_address_that_cannot_be_bound_is_reported(host: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        bind(host, 0, keys="on")


def test_a_free_port_is_chosen_and_its_url_printed() -> None:
    with bind("127.0.0.1", 0, keys="off") as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    with bind("0.0.0.0", 0, keys="open") as listener:  # noqa: S104
        assert url_of(listener).startswith("http://127.0.0.1:")


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python knows no IPv6")
def test_an_ipv6_address_stands_in_brackets() -> None:
    try:
        listener = bind("::1", 0, keys="off")
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert url_of(listener).startswith("http://[::1]:")


def test_a_stopped_port_can_be_bound_again_at_once() -> None:
    with bind("127.0.0.1", 0, keys="off") as listener:
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port), timeout=10)
        listener.accept()[0].close()
    with bind("127.0.0.1", port, keys="off"):
        client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_end_in_order(number: signal.Signals) -> None:
    ended: list[str] = []
    seen = threading.Event()
    end_on_signals(lambda: ended.append("drain"), lambda: ended.append("stop"), seen.set)
    os.kill(os.getpid(), number)
    assert seen.wait(60)
    assert ended == ["drain", "stop"]


def test_children_get_the_settings_of_their_parent_and_nothing_of_its_environment_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # given
    monkeypatch.setenv("BEHOLDER_PORT", "1")
    monkeypatch.setenv("BEHOLDER_CONFIG", "some.toml")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    settings = make_settings(port=2, data_dir=tmp_path, workers=2)
    # when
    web, worker_of = children(settings, socket_fd=7, parent_death_pipe_fd=8, ready_fd=9, in_fleet=True)
    workers = [worker_of(number) for number in range(2)]
    # then
    assert [one.name for one in (web, *workers)] == ["web-0", "worker-0", "worker-1"]
    for child in (web, *workers):
        assert load_settings(child.environment, {}).settings == settings
        assert child.environment["LANG"] == "C.UTF-8"
        assert child.environment["OMP_NUM_THREADS"] == "1"
        assert child.command[:4] == (sys.executable, "-P", "-m", "beholder")
    # and a service manager hears of the web tier alone
    assert [one.environment["NOTIFY_SOCKET"] for one in (web, *workers)] == ["/run/notify", "", ""]
    # and the web tier, which alone has the socket, ends first
    assert (web.fds, [one.fds for one in workers]) == ((7, 8), [(8, 9), (8, 9)])
    assert web.stage < min(one.stage for one in workers)


def test_a_service_that_is_stopped_before_it_is_ready_is_not_awaited(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert not Service(profile_of(make_settings(data_dir=tmp_path))).await_ready(stop)


def test_the_addresses_of_the_service_are_printed() -> None:
    text = where_to_look("http://127.0.0.1:8080", profile_of(make_settings()))
    for part in (
        "deleted after 7d; BEHOLDER_RETENTION=forever",
        "http://127.0.0.1:8080/docs",
        "curl -F myfile=@photo.jpg",
        "Ctrl-C",
    ):
        assert part in text
    kept = where_to_look("http://127.0.0.1:8080", profile_of(make_settings(retention=None)))
    assert "never deleted" in kept


def test_with_keys_the_first_command_sends_one_and_how_to_make_it_is_told() -> None:
    text = where_to_look("http://127.0.0.1:8080", profile_of(make_settings(keys="on")))
    assert 'curl -H "X-API-Key: $BEHOLDER_API_KEY" -F myfile=@photo.jpg' in text
    assert "beholder keys create" in text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104
def test_without_keys_an_address_of_other_machines_is_refused_with_both_ways_out(host: str) -> None:
    with pytest.raises(ConfigError) as refused:
        bind(host, 0, keys="off")
    assert "--keys on" in refused.value.message
    assert "--keys open" in refused.value.message


@pytest.mark.parametrize("keys", ["on", "open"])
def test_with_keys_or_in_words_every_address_is_served(keys: str) -> None:
    with bind("0.0.0.0", 0, keys=keys) as listener:  # noqa: S104
        assert listener.getsockname()[0] == "0.0.0.0"  # noqa: S104
