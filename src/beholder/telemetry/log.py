"""Log lines that a program can filter: each has an `action`, and its facts as keys.

Such as `log_event(logging.getLogger(__name__), logging.INFO, "worker.ready", "ready", model="x")`.
"""

import json
import logging
import sys
import time
from typing import Any, TextIO

__all__ = ["configure_logging", "log_event"]

_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False)


def log_event(log: logging.Logger, level: int, action: str, sentence: str, /, **facts: Any) -> None:
    """Write one line.

    Args:
        log: The module's logger.
        level: Such as `logging.INFO`.
        action: What happened, as a stable key: `room.verb`.
        sentence: What happened, for people.
        facts: Values to filter by; an exception is named `error`.
    """
    if log.isEnabledFor(level):
        # `log.log` would look up its caller, this function, which takes a quarter of a line's time.
        extra = {"action": action, "facts": facts}
        log.handle(log.makeRecord(log.name, level, __file__, 0, sentence, (), None, extra=extra))


def configure_logging(*, level: str, process: str, form: str, stream: TextIO | None = None) -> None:
    """Set up the root logger once per process.

    Args:
        level: 'debug', 'info', 'warning' or 'error'.
        process: Name of this process for every line, such as 'worker-0'.
        form: 'text' for people or 'json' for machines.
        stream: Where the lines go; standard error by default.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter(process) if form == "json" else _TextFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # No line uses these, and looking them up takes a third of a line's time.
    # Source: https://docs.python.org/3/howto/logging.html#optimization (2026-11)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Below this level the SDK logs its sources of settings at every start.
    logging.getLogger("botocore").setLevel(max(logging.WARNING, root.level))


def _action(record: logging.LogRecord) -> str:
    # uvicorn logs everything, even its start, under the name of its error logger.
    fallback = record.name.replace("uvicorn.error", "web.server")
    action: str = getattr(record, "action", fallback)
    return action


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts: dict[str, Any] = getattr(record, "facts", {})
    return facts


def _one_line(text: str) -> str:
    """Escape characters that could end the line or control a terminal: callers wrote parts of the text."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text.rstrip()
    )


class _TextFormatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        action = _action(record)
        facts = "".join(f" {name}={value}" for name, value in _facts(record).items())
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = _one_line(f"{clock} {self._process} {action}: {level}{record.getMessage().rstrip()}{facts}")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "process": self._process,
            "action": _action(record),
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        line = _ENCODER.encode(document)
        # Some readers end a line at U+2028, and a lone surrogate cannot be written.
        return line if line.isprintable() else json.dumps(document, default=str)
