"""Log lines: one form for people, one for machines, and the same facts in both."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from beholder.telemetry.log import configure_logging, log_event

LOG = logging.getLogger("beholder.somewhere")


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def stream(form: str, level: str = "info") -> io.StringIO:
    written = io.StringIO()
    configure_logging(level=level, process="worker-0", form=form, stream=written)
    return written


def fail_and_log() -> None:
    try:
        divmod(1, 0)
    except ZeroDivisionError:
        LOG.exception("a pass failed", extra={"action": "part.error", "facts": {"pause_s": 0.5}})


def test_a_line_for_people() -> None:
    written = stream("text")
    log_event(LOG, logging.INFO, "worker.ready", "ready", models="a,b", count=2)
    log_event(LOG, logging.WARNING, "worker.resume", "a predecessor died")
    first, second = written.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d worker-0 worker\.ready: ready models=a,b count=2", first)
    assert re.fullmatch(r"\S+ worker-0 worker\.resume: warning: a predecessor died", second)


def test_a_line_for_machines() -> None:
    written = stream("json")
    log_event(LOG, logging.ERROR, "worker.ready", "ready ☃", models="a", error=ValueError("odd"))
    document = json.loads(written.getvalue())
    assert isinstance(document.pop("at"), float)
    assert document == {
        "level": "error",
        "process": "worker-0",
        "action": "worker.ready",
        "message": "ready ☃",
        "models": "a",
        "error": "odd",
    }


def test_a_traceback_stands_below_the_line_or_in_it() -> None:
    written = stream("text")
    fail_and_log()
    lines = written.getvalue().splitlines()
    assert lines[0].endswith("worker-0 part.error: error: a pass failed pause_s=0.5")
    assert lines[-1].startswith("ZeroDivisionError: ")
    written = stream("json")
    fail_and_log()
    (line,) = written.getvalue().splitlines()
    assert "ZeroDivisionError: " in json.loads(line)["traceback"].splitlines()[-1]


def test_lines_of_the_web_server_are_not_named_after_errors() -> None:
    for form in ("text", "json"):
        written = stream(form)
        logging.getLogger("uvicorn.error").warning("odd %s", "thing")
        assert "web.server" in written.getvalue()
        assert "odd thing" in written.getvalue()


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_less_severe_lines_are_left_out(level: str, seen: int) -> None:
    written = stream("text", level)
    for severity in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        log_event(LOG, severity, "a.b", "said")
    assert len(written.getvalue().splitlines()) == seen


def test_facts_may_have_any_name() -> None:
    written = stream("json")
    log_event(LOG, logging.INFO, "a.b", "said", log=1, level=2, sentence=3)
    assert json.loads(written.getvalue())["sentence"] == 3


def test_the_last_configuration_alone_counts(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    stream("text")
    configure_logging(level="info", process="web-0", form="text")
    log_event(LOG, logging.INFO, "a.b", "said")
    assert len(root.handlers) == 1
    assert "web-0 a.b: said" in capsys.readouterr().err
    assert root.handlers[0].stream is sys.stderr  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_callers_wrote_cannot_end_a_line_or_command_a_terminal(form: str) -> None:
    odd = "a\r\nb\u2028c\x1b[2Jd\x85e\x00f\udcffg"
    written = stream(form)
    log_event(LOG, logging.INFO, "a.b", odd, file_name=odd)
    (line,) = written.getvalue().splitlines()
    assert line.isprintable()
    if form == "json":
        assert json.loads(line)["file_name"] == odd
