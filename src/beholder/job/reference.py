"""How requests, messages and settings name a model: its name, or its name with its version behind an `@`."""

__all__ = ["reference_of", "split_reference"]

_MARK = "@"


def reference_of(name: str, version: str) -> str:
    """Return the reference that names one version of a model, such as `mushrooms@3`."""
    return f"{name}{_MARK}{version}"


def split_reference(text: str) -> tuple[str, str | None]:
    """Return the name in a reference, and the version; None if it has none. No name contains the mark."""
    name, mark, version = text.partition(_MARK)
    return name, version if mark else None
