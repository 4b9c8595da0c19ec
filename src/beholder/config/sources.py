"""Where settings come from: defaults, a TOML file, the environment, the command line; the later wins.

Nothing here reads the process's own environment: it is an argument.
"""

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from beholder.config.lists import age_of, bytes_of, networks_of, prices_of
from beholder.config.settings import AUTO, NEVER, Settings, make_settings
from beholder.errors import ConfigError

__all__ = ["Loaded", "OutputsReader", "load_settings", "to_environment", "to_text"]

_PREFIX = "BEHOLDER_"
_FILE_VARIABLE = "BEHOLDER_CONFIG"
# Of these the second is a client's, who may well start a service in the same shell.
_NO_SETTINGS = {_FILE_VARIABLE, "BEHOLDER_API_KEY"}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
# What S3 and SQS take; the embedded backends take it too. An SQS queue may also be named by its URL.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html and
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html (2026-11)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_QUEUE = re.compile(r"[A-Za-z0-9_-]{1,80}")
_QUEUE_URL = re.compile(r"https?://[^/\s]+/.*[A-Za-z0-9_-]{1,80}")
_QUEUE_FORMS = {"local": (_QUEUE,), "aws": (_QUEUE, _QUEUE_URL)}
# A reply queue's name goes on after this with its owner's and a number.
_OUTPUT_QUEUE_CHARS_MAX = 40
# AWS's own names for the region; ours wins over them.
_REGION_VARIABLES = ("AWS_DEFAULT_REGION", "AWS_REGION")

OutputsReader = Callable[[str, str], Mapping[str, str]]
"""From a stack's name and region to its outputs, by key; raises ConfigError."""


@dataclass(frozen=True)
class Loaded:
    """Settings and, for each, the source that set it: 'default', a file's path, 'BEHOLDER_X' or '--x'."""

    settings: Settings
    sources: Mapping[str, str]


def load_settings(
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
    *,
    outputs_of: OutputsReader = lambda _stack, _region: {},
) -> Loaded:
    """Read all settings.

    Args:
        environment: Such as `os.environ`; `BEHOLDER_PORT` sets `port`, `BEHOLDER_CONFIG` names a TOML file.
        flags: Values given on the command line, by setting name; None for not given.
        outputs_of: Reads the outputs of the stack that the setting `stack` names, if one does: an output
            `InputBucket` sets `input_bucket`. They win over the file and lose to the environment.

    Raises:
        ConfigError: With every problem of every source; or the stack cannot be read.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    sources = {one.name: "default" for one in fields(Settings)}
    found = _all_sources(environment, flags, problems)
    for source, name, raw in _with_outputs(found, outputs_of):
        one = _FIELDS.get(name)
        if one is None:
            problems.append(f"{source}: there is no setting named {name!r}; `beholder config` lists them all")
            continue
        try:
            if raw == AUTO and AUTO in one.metadata["words"]:
                values.pop(name, None)
            else:
                values[name] = _parsed(one, raw)
            sources[name] = source
        except ValueError as exc:
            problems.append(f"{source}: {name} {exc}")
    if not problems:
        settings = make_settings(**values)
        problems.extend(_problems_together(settings, sources))
    if problems:
        raise ConfigError(problems)
    return Loaded(settings, sources)


def to_environment(settings: Settings) -> dict[str, str]:
    """Return the environment that gives a child process the same settings."""
    result = {}
    for one in fields(Settings):
        result[_PREFIX + one.name.upper()] = to_text(getattr(settings, one.name))
    return result


def to_text(value: Any) -> str:
    """Return a setting's value as the environment takes it; None is 'auto', and infinity 'never'."""
    if value is None:
        return AUTO
    if value == math.inf:
        return NEVER
    return ",".join(value) if isinstance(value, tuple) else str(value)


_FIELDS: dict[str, Field[Any]] = {one.name: one for one in fields(Settings)}


def _all_sources(
    environment: Mapping[str, str], flags: Mapping[str, Any], problems: list[str]
) -> list[tuple[str, str, Any]]:
    found: list[tuple[str, str, Any]] = []
    path = environment.get(_FILE_VARIABLE)
    if path:
        found.extend((path, name, raw) for name, raw in _read_file(Path(path), problems).items())
    found += [(one, "region", environment[one]) for one in _REGION_VARIABLES if environment.get(one)]
    for variable, raw in environment.items():
        if variable.startswith(_PREFIX) and variable not in _NO_SETTINGS:
            found.append((variable, variable.removeprefix(_PREFIX).lower(), raw))
    for name, raw in flags.items():
        if raw is not None and raw != ():
            found.append((f"--{name.replace('_', '-')}", name, raw))
    return found


def _with_outputs(found: list[tuple[str, str, Any]], outputs_of: OutputsReader) -> list[tuple[str, str, Any]]:
    """Return what was found and, right before the environment's, what the stack's outputs say."""
    last = {name: str(raw) for _, name, raw in found}
    stack = last.get("stack")
    if not stack:
        return found
    outputs = [
        (f"stack {stack}", name, value)
        for key, value in outputs_of(stack, last.get("region") or Settings.region).items()
        # A stack has outputs for people too.
        if (name := re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()) in _FIELDS
    ]
    if outputs:
        outputs.insert(0, (f"stack {stack}", "backend", "aws"))
    is_later = [source.startswith((_PREFIX, "--")) and "/" not in source for source, _, _ in found]
    place = is_later.index(True) if True in is_later else len(found)
    return [*found[:place], *outputs, *found[place:]]


def _read_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        problems.append(f"{_FILE_VARIABLE}: cannot read {path}: {exc.strerror}; correct the path or unset it")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        problems.append(f"{path}: not a TOML file: {exc}")
    return {}


def _parsed(one: Field[Any], raw: Any) -> Any:
    if one.name == "model":
        return _model_names(raw)
    if raw == NEVER and NEVER in one.metadata["words"]:
        return math.inf
    if one.type in (int, float, float | None):
        return _number(one, raw)
    if not isinstance(raw, str | Path):
        raise ValueError(f"is {raw!r}; use a text")  # noqa: TRY004 -- a problem of the file, not a bug
    if one.type is Path:
        return _folder(str(raw))
    value = str(raw)
    choices = one.metadata["choices"]
    if choices and value not in choices:
        raise ValueError(f"is {value!r}; use one of {', '.join(choices)}")
    return value


def _model_names(raw: Any) -> tuple[str, ...]:
    """Read names from one text or from several; each text may hold several, with commas between them."""
    texts = [raw] if isinstance(raw, str) else raw
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"is {raw!r}; use a text or a list of texts")
    names = tuple(name.strip() for text in texts for name in text.split(",") if name.strip())
    if not names:
        raise ValueError("names no model; leave it out for the built-in one")
    return names


def _folder(raw: str) -> Path:
    if not raw:
        raise ValueError("is empty; give a folder, or leave it out for the one in your home")
    try:
        return Path(raw).expanduser().absolute()
    except RuntimeError:  # no such user, or a user without a home
        raise ValueError(f"is {raw!r}, whose home is unknown; write the path out") from None


def _number(one: Field[Any], raw: Any) -> float:
    kind = "a whole number" if one.type is int else "a number"
    kind = " or ".join((*one.metadata["words"], kind))
    low, high = one.metadata["low"], one.metadata["high"]
    try:
        value = int(raw) if one.type is int else float(raw)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"is {raw!r}; use {kind} from {low} to {high}") from None
    # A TOML file may hold true, and 80.9 where only 80 can be meant.
    is_exact = not isinstance(raw, bool) and (not isinstance(raw, float) or value == raw)
    if not is_exact or not low <= value <= high:
        raise ValueError(f"is {raw}; use {kind} from {low} to {high}")
    return value


def _problems_together(settings: Settings, sources: Mapping[str, str]) -> list[str]:
    problems = []
    if not _NAME.fullmatch(settings.prefix):
        problems.append(
            f"{sources['prefix']}: prefix is {settings.prefix!r}; "
            "use up to 41 lower-case letters, digits and hyphens"
        )
    problems += _name_problems(settings, sources)
    if settings.workers_min > settings.workers:
        problems.append(
            f"workers_min ({settings.workers_min}) is above workers ({settings.workers}); lower it"
        )
    if settings.wait_s_default > settings.wait_s_max:
        problems.append(
            f"wait_s_default ({settings.wait_s_default}) is above wait_s_max ({settings.wait_s_max}); "
            "lower it"
        )
    if settings.image_side_min > settings.image_side_max:
        problems.append(
            f"image_side_min ({settings.image_side_min}) is above "
            f"image_side_max ({settings.image_side_max}); "
            "lower it"
        )
    if settings.fleet_min > settings.fleet_max:
        problems.append(
            f"fleet_min ({settings.fleet_min}) is above fleet_max ({settings.fleet_max}); lower it"
        )
    if settings.image_bytes_max > settings.uploads_bytes_max:
        problems.append(
            f"uploads_bytes_max ({settings.uploads_bytes_max}) is below image_bytes_max "
            f"({settings.image_bytes_max}); raise it"
        )
    readers: tuple[tuple[str, Callable[[str], object]], ...] = (
        ("prices", prices_of),
        ("trusted_proxies", networks_of),
        ("retention", age_of),
        ("retention_bytes_max", bytes_of),
    )
    for name, read in readers:
        try:
            read(getattr(settings, name))
        except ValueError as exc:
            problems.append(f"{sources[name]}: {name} {exc}")
    if not settings.host:
        problems.append(
            f"{sources['host']}: host is empty; use 127.0.0.1 for this machine only, 0.0.0.0 for all"
        )
    return problems


def _name_problems(settings: Settings, sources: Mapping[str, str]) -> list[str]:
    """Return what is wrong with names that were given; what follows from the prefix is right with it."""
    problems = []
    for name in ("input_bucket", "output_bucket", "input_queue", "dead_letter_queue", "output_queue"):
        value = getattr(settings, name)
        if sources[name] == "default":
            continue
        if name.endswith("bucket"):
            is_good = bool(_BUCKET.fullmatch(value))
            rule = "3 to 63 lower-case letters, digits, dots and hyphens"
        elif name == "output_queue":
            is_good = bool(_QUEUE.fullmatch(value)) and len(value) <= _OUTPUT_QUEUE_CHARS_MAX
            rule = f"up to {_OUTPUT_QUEUE_CHARS_MAX} letters, digits, hyphens and underscores"
        else:
            is_good = any(form.fullmatch(value) for form in _QUEUE_FORMS[settings.backend])
            rule = "up to 80 letters, digits, hyphens and underscores, or on AWS the queue's URL"
        if not is_good:
            problems.append(f"{sources[name]}: {name} is {value!r}; use {rule}; or auto")
    return problems
