"""What makes a field of a dataclass a setting, which environment, settings file and options may set.

A room declares its settings where it declares what it takes, each once: its type, its meaning, its bounds
and its default, as in `port: Annotated[int, "TCP port.", Setting(low=0, high=65_535)] = 8080`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Setting"]


class Setting(NamedTuple):
    """The values that a setting may have, beside those of its type.

    Args:
        low: The least number.
        high: The greatest number.
        choices: The only texts.
        words: Words with a value of their own, such as 'never' for a time.
        units: The units of a number that is written with one, by their names.
        item: Checks one entry of a list and returns it in its usual form; raises ValueError with a message
            that goes on after the setting's name.
        is_auto: Whether the word 'auto' leaves the value to other settings; such a field has no default.
    """

    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    words: Mapping[str, Any] = {}
    units: Mapping[str, float] = {}
    item: Callable[[str], str] = str
    is_auto: bool = False
