"""Settings that hold several values in one text, with commas between them."""

__all__ = ["names_of", "prices_of"]


def names_of(text: str) -> tuple[str, ...]:
    """Return the names in a text, in order; none of an empty one."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


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
