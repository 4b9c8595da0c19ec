"""Settings as texts: what environment and options give is read here, and written for a child process."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from beholder.config.declared import AUTO, Declared
from beholder.config.settings import AGE
from beholder.setting import Setting

__all__ = ["age_of", "read", "to_text"]

_WITH_UNIT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,17})?) ?([A-Za-z]+)")


def read(one: Declared, raw: Any) -> Any:
    """Return the value of a setting that a source gives as a text, or TOML as another type.

    Raises:
        ValueError: The value is not allowed; the message is worded to follow the setting's name.
    """
    bounds = one.bounds
    if bounds.is_auto and raw == AUTO:
        return AUTO
    if isinstance(raw, str) and raw in bounds.words:
        return bounds.words[raw]
    if one.type in (int, float):
        return (_with_unit if bounds.units else _number)(bounds, one.type, raw)
    if one.type == tuple[str, ...]:
        return _names(one, raw)
    if not isinstance(raw, str | Path):
        raise ValueError(f"is {raw!r}; use a text")  # noqa: TRY004 -- a problem of the file, not a bug
    return _TEXTS.get(one.type, _text)(one, str(raw))


def age_of(text: str) -> float:
    """Return an age such as '30d' or '12h' in seconds.

    Raises:
        ValueError: The text is no age; the message is worded to follow the name of what it is given for.
    """
    return _with_unit(AGE, float, text)


def to_text(one: Declared, value: Any) -> str:
    """Return a value as `read` takes it."""
    for word, meant in one.bounds.words.items():
        if value == meant:
            return word
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={price!r}" for name, price in value.items())
    return _unit_text(value, one.bounds.units) if one.bounds.units else str(value)


def _use(bounds: Setting, other: str = "") -> str:
    """Return the part of a problem's sentence that says what to use instead."""
    words = [AUTO] * bounds.is_auto + list(bounds.words)
    return "use " + " or ".join([*words, other] if other else words)


def _number(bounds: Setting, kind: type[int] | type[float], raw: Any) -> float:
    what = "a whole number" if kind is int else "a number"
    use = _use(bounds, f"{what} from {bounds.low} to {bounds.high}")
    try:
        value = kind(raw)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"is {raw!r}; {use}") from None
    # A TOML file may hold true, and 80.9 where only 80 can be meant.
    is_exact = not isinstance(raw, bool) and (not isinstance(raw, float) or value == raw)
    if not is_exact or not _is_within(bounds, value):
        raise ValueError(f"is {raw}; {use}")
    return value


def _is_within(bounds: Setting, value: float) -> bool:
    return (bounds.low is None or bounds.low <= value) and (bounds.high is None or value <= bounds.high)


def _with_unit(bounds: Setting, kind: type[int] | type[float], raw: Any) -> float:
    found = _WITH_UNIT.fullmatch(str(raw))
    if found is None or found[2] not in bounds.units:
        use = _use(bounds, f"a number with one of the units {', '.join(bounds.units)}")
        raise ValueError(f"is {raw!r}; {use}")
    value = kind(float(found[1]) * bounds.units[found[2]])
    if not _is_within(bounds, value):
        low, high = (_unit_text(end, bounds.units) for end in (bounds.low, bounds.high) if end is not None)
        raise ValueError(f"is {raw!r}; {_use(bounds, f'{low} to {high}')}")
    return value


def _unit_text(value: float, units: Mapping[str, float]) -> str:
    """Return a number in the greatest unit of which it is a multiple."""
    unit = next((unit for unit, size in units.items() if value and value % size == 0), list(units)[-1])
    return f"{int(value / units[unit])}{unit}" if value % units[unit] == 0 else f"{value!r}{unit}"


def _names(one: Declared, raw: Any) -> tuple[str, ...]:
    """Read names from one text or from several; each text may hold several, with commas between them."""
    texts = [raw] if isinstance(raw, str) else raw
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"is {raw!r}; use a text or a list of texts")
    names = tuple(name.strip() for text in texts for name in text.split(",") if name.strip())
    if not names:
        raise ValueError(f"is {raw!r}; {_use(one.bounds, 'names with commas between them')}")
    return tuple(one.bounds.item(name) for name in names)


def _folder(_: Declared, raw: str) -> Path:
    if not raw:
        raise ValueError("is empty; give a folder, or leave it out for the one in your home")
    try:
        return Path(raw).expanduser().absolute()
    except RuntimeError:  # no such user, or a user without a home
        raise ValueError(f"is {raw!r}, whose home is unknown; write the path out") from None


def _prices(_: Declared, raw: str) -> dict[str, float]:
    prices = {}
    for part in raw.split(","):
        name, sign, number = part.strip().partition("=")
        try:
            price = float(number)
        except ValueError:
            price = -1.0
        if not name or not sign or not 0 <= price < float("inf"):
            raise ValueError(f"has {part!r}; write type=dollars, such as c7a.large=0.10, or none")
        prices[name.strip()] = price
    return prices


def _text(one: Declared, raw: str) -> str:
    choices = one.bounds.choices
    if choices and raw not in choices:
        raise ValueError(f"is {raw!r}; use one of {', '.join([*one.bounds.words, *choices])}")
    if not raw:
        raise ValueError(f"is empty; {_use(one.bounds, 'a text')}")
    return raw


_TEXTS: Mapping[Any, Callable[[Declared, str], Any]] = {Path: _folder, Mapping[str, float]: _prices}
