"""What the options of `beholder models import` say of a model."""

from typing import Any

from beholder.errors import ConfigError

__all__ = ["check_options", "preprocessing_of", "thresholds_of"]


def check_options(given: dict[str, Any]) -> None:
    """Refuse options that would have no effect; raises ConfigError, which names them."""
    kind = given["preprocessing"]
    problems = [
        f"--{key.replace('_', '-')} is for --preprocessing centre-crop and stretch; add one, or leave it out"
        for key in ("mean", "scale", "crop_fraction")
        if kind not in ("centre-crop", "stretch") and given[key] is not None
    ]
    if kind == "as-is" and given["size"] is not None:
        problems.append("--size is not for --preprocessing as-is, which leaves an image at its size")
    if problems:
        raise ConfigError(problems)


def preprocessing_of(given: dict[str, Any]) -> Any:
    """Return the preprocessing that the options describe; None if they say nothing of it.

    Raises:
        ConfigError: A number cannot be used.
    """
    from beholder.model.preprocessing_table import AS_IS, TORCHVISION, read_preprocessing  # noqa: PLC0415

    kind = given["preprocessing"]
    if kind not in ("centre-crop", "stretch"):
        return {None: None, "as-is": AS_IS, "torchvision": TORCHVISION}[kind]
    table = {key: _numbers(given[key]) for key in ("mean", "scale") if given[key] is not None}
    fraction = given["crop_fraction"]
    if fraction is not None or kind == "stretch":
        table["crop_fraction"] = 1.0 if fraction is None else fraction
    problems: list[str] = []
    found = read_preprocessing({"kind": kind, **table}, problems)
    if found is None:
        raise ConfigError([problem.removeprefix("[preprocessing] ") for problem in problems])
    return found


def thresholds_of(text: str | None) -> tuple[float, ...]:
    """Return the thresholds that `--threshold` gives, one for all or one for each class; none without it.

    Raises:
        ConfigError: They are no numbers from 0 to 1.
    """
    if text is None:
        return ()
    found = _numbers(text)
    numbers = tuple(found) if isinstance(found, list) else (found,)
    if not all(isinstance(one, float) and 0 <= one <= 1 for one in numbers):
        raise ConfigError(f"--threshold is {text!r}; give a number from 0 to 1, or one for each class")
    return numbers


def _numbers(text: str) -> Any:
    """Return a number, or a list of those between the commas; the text itself if there are none."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return text
    return numbers if len(numbers) > 1 else numbers[0]
