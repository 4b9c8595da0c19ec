"""Where settings come from: defaults, a TOML file, the environment, the command line; the later wins.

Nothing here reads the process's own environment: it is an argument.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beholder.config.declared import AUTO, DECLARED, value_of
from beholder.config.problems import problems_of
from beholder.config.resolve import make_settings
from beholder.config.settings import Settings
from beholder.config.texts import read, to_text
from beholder.errors import ConfigError

__all__ = ["Loaded", "OutputsReader", "load_settings", "to_environment"]

_PREFIX = "BEHOLDER_"
_FILE_VARIABLE = "BEHOLDER_CONFIG"
# Of these the second is a client's, who may well start a service in the same shell.
_NO_SETTINGS = {_FILE_VARIABLE, "BEHOLDER_API_KEY"}
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
    sources = dict.fromkeys(DECLARED, "default")
    found = _all_sources(environment, flags, problems)
    for source, name, raw in _with_outputs(found, outputs_of):
        one = DECLARED.get(name)
        if one is None:
            problems.append(f"{source}: there is no setting named {name!r}; `beholder config` lists them all")
            continue
        try:
            values[name] = read(one, raw)
            sources[name] = source
        except ValueError as exc:
            problems.append(f"{source}: {name} {exc}")
    if problems:
        raise ConfigError(problems)
    settings = make_settings(**values)
    problems = problems_of(settings, sources, given={name for name, value in values.items() if value != AUTO})
    if problems:
        raise ConfigError(problems)
    return Loaded(settings, sources)


def to_environment(settings: Settings) -> dict[str, str]:
    """Return the environment that gives a child process the same settings."""
    return {_PREFIX + name.upper(): to_text(one, value_of(settings, name)) for name, one in DECLARED.items()}


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
    if stack in {None, "none"}:
        return found
    outputs = [
        (f"stack {stack}", name, value)
        for key, value in outputs_of(stack, last.get("region") or DECLARED["region"].default).items()
        # A stack has outputs for people too.
        if (name := re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()) in DECLARED
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
