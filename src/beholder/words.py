"""Words in sentences: a count with its noun."""

__all__ = ["counted"]


def counted(count: float, noun: str) -> str:
    """Return a count, rounded, with its noun: '1 image', '2 images'."""
    text = f"{count:.0f}"
    return f"{text} {noun}" if text == "1" else f"{text} {noun}s"
