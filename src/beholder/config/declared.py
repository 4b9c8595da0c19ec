"""The settings by their flat names, as environment, settings file and options have them."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache, reduce
from types import NoneType
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

from beholder.config.settings import Settings
from beholder.setting import Setting

__all__ = ["AUTO", "DECLARED", "Declared", "make", "value_of"]

AUTO = "auto"


@dataclass(frozen=True)
class Declared:
    """One setting.

    Args:
        name: Its flat name, which is its field's.
        path: The fields that lead to it from `Settings`, its own the last.
        type: Its type without None.
        meaning: A sentence.
        bounds: The values that it may have.
        default: Its value where nothing sets it; AUTO for one that follows from other settings.
    """

    name: str
    path: tuple[str, ...]
    type: Any
    meaning: str
    bounds: Setting
    default: Any


def value_of(settings: Settings, name: str) -> Any:
    """Return the value of a setting by its flat name."""
    return reduce(getattr, DECLARED[name].path, settings)


def make(flat: Mapping[str, Any]) -> Settings:
    """Return the settings of flat values, of which none is AUTO; one that is missing has its default."""
    return cast("Settings", _make(Settings, flat))


def _make(group: Any, flat: Mapping[str, Any]) -> Any:
    values = {}
    for name, hint, about in _fields(group):
        if is_dataclass(hint):
            values[name] = _make(hint, flat)
        elif name in flat and _setting_of(about):
            values[name] = flat[name]
    return group(**values)


@cache
def _fields(group: Any) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """Return the name, the bare type and what describes it, of each field."""
    hints = get_type_hints(group, include_extras=True)
    return [
        (name, *((get_args(hint)[0], get_args(hint)[1:]) if get_origin(hint) is Annotated else (hint, ())))
        for name, hint in hints.items()
    ]


def _setting_of(about: Sequence[Any]) -> Setting | None:
    return next((one for one in about if isinstance(one, Setting)), None)


def _declared(group: Any, path: tuple[str, ...] = ()) -> dict[str, Declared]:
    found: dict[str, Declared] = {}
    defaults = {one.name: one for one in fields(group)}
    for name, hint, about in _fields(group):
        bounds = _setting_of(about)
        if is_dataclass(hint):
            found |= _declared(hint, (*path, name))
        elif bounds is not None:
            kept = [one for one in get_args(hint) if one is not NoneType]
            bare = kept[0] if NoneType in get_args(hint) else hint
            default = AUTO if bounds.is_auto else _default(defaults[name])
            found[name] = Declared(name, (*path, name), bare, about[0], bounds, default)
    return found


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


DECLARED = _declared(Settings)
