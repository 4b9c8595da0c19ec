"""Settings whose text holds more than a number: several values with commas between them, or a unit."""

import re
from ipaddress import ip_network

__all__ = ["age_of", "bytes_of", "names_of", "networks_of", "prices_of"]

_FOREVER = "forever"
_AGE_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_WITH_UNIT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]+)")
_AGE_S_MAX = 86_400.0 * 36_525


def age_of(text: str) -> float | None:
    """Return the seconds of a text such as '7d', '12h', '30m' or '90s'; None of 'forever'.

    Raises:
        ValueError: It is no such text; the message goes on after the setting's name.
    """
    seconds = _with_unit(text, _AGE_UNITS, "7d, 12h, 30m or 90s")
    if seconds is not None and not 1 <= seconds <= _AGE_S_MAX:
        raise ValueError(f"is {text!r}; use 1s to 36525d, or forever")
    return seconds


def bytes_of(text: str) -> int | None:
    """Return the bytes of a text such as '10GB' or '500MB'; None of 'forever'.

    Raises:
        ValueError: It is no such text; the message goes on after the setting's name.
    """
    size = _with_unit(text, _BYTES_UNITS, "10GB or 500MB")
    return None if size is None else int(size)


def _with_unit(text: str, units: dict[str, float] | dict[str, int], examples: str) -> float | None:
    if text == _FOREVER:
        return None
    found = _WITH_UNIT.fullmatch(text)
    if found is None or found[2] not in units:
        raise ValueError(f"is {text!r}; use a number and a unit, such as {examples}, or forever")
    return float(found[1]) * units[found[2]]


def names_of(text: str) -> tuple[str, ...]:
    """Return the names in a text, in order; none of an empty one."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def networks_of(text: str) -> tuple[str, ...]:
    """Return the networks in a text such as '10.0.0.0/16,192.0.2.7', each with its length.

    Raises:
        ValueError: A part of it is no network; the message goes on after the setting's name.
    """
    networks = []
    for part in names_of(text):
        try:
            networks.append(str(ip_network(part)))
        except ValueError:
            raise ValueError(f"has {part!r}; write an address, or a network such as 10.0.0.0/16") from None
    return tuple(networks)


def prices_of(text: str) -> dict[str, float]:
    """Return what each name costs, of a text such as 'c7a.large=0.10,c7a.large/spot=0.04'.

    Raises:
        ValueError: A part of it is no price; the message goes on after the setting's name.
    """
    prices = {}
    for part in names_of(text):
        name, sign, number = part.partition("=")
        try:
            price = float(number)
        except ValueError:
            price = -1.0
        if not name or not sign or not 0 <= price < float("inf"):
            raise ValueError(f"has {part!r}; write type=dollars, such as c7a.large=0.10")
        prices[name.strip()] = price
    return prices
