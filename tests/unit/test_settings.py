"""The settings themselves, and the environment that hands them to a child process."""

import math
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.config import Settings, load_settings, to_environment
from beholder.config.settings import default_data_dir

TEXT = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=20)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-./", min_size=1, max_size=20)


def value_of(name: str) -> st.SearchStrategy[object]:
    """Return values that the setting may have."""
    one = next(each for each in fields(Settings) if each.name == name)
    low, high = one.metadata["low"], one.metadata["high"]
    if one.metadata["choices"]:
        return st.sampled_from(one.metadata["choices"])
    if low is not None:
        numbers = st.integers(low, high) if one.type is int else st.floats(low, high)
        return st.none() | numbers if one.type == float | None else numbers
    if one.type is Path:
        return st.lists(NAMES.map(lambda part: part.strip("./") or "x"), max_size=3).map(
            lambda parts: Path("/", *parts)
        )
    if name == "model":
        return st.lists(NAMES, min_size=1, max_size=3).map(tuple)
    if name == "prefix" or name.endswith(("_bucket", "_queue")):
        return st.from_regex(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]", fullmatch=True)
    prices = st.from_regex(r"([a-z0-9.]{1,9}(/spot)?=[0-9]{1,3}\.[0-9]{1,4},){0,3}", fullmatch=True)
    return prices if name == "prices" else TEXT


def fits_together(settings: Settings) -> bool:
    return (
        settings.wait_s_default <= settings.wait_s_max
        and settings.workers_min <= settings.workers
        and settings.image_side_min <= settings.image_side_max
        and settings.image_bytes_max <= settings.uploads_bytes_max
        and settings.fleet_min <= settings.fleet_max
    )


ANY_SETTINGS = st.builds(Settings, **{one.name: value_of(one.name) for one in fields(Settings)})


@given(settings=ANY_SETTINGS.filter(fits_together))
def test_a_child_process_gets_the_same_settings(settings: Settings) -> None:
    assert load_settings(to_environment(settings), {}).settings == settings


@pytest.mark.parametrize("one", fields(Settings), ids=lambda one: one.name)
def test_every_setting_says_what_it_means_and_has_a_bounded_default(one: Field[Any]) -> None:
    meaning, low, high = (one.metadata[name] for name in ("meaning", "low", "high"))
    assert meaning
    assert not meaning.endswith(".")
    if one.type in (int, float):
        value = getattr(Settings(), one.name)
        assert low <= value <= high < math.inf
    if one.metadata["choices"]:
        assert one.default in one.metadata["choices"]


def test_names_begin_with_the_prefix() -> None:
    settings = Settings(prefix="zoo")
    assert settings.input_queue == "zoo-input-queue"
    assert settings.dead_letter_queue == "zoo-input-queue-dead"
    assert settings.output_queue == "zoo-output-queue"
    assert settings.input_bucket == "zoo-input-bucket"
    assert settings.output_bucket == "zoo-output-bucket"


def test_data_lies_in_the_user_s_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "beholder"
    monkeypatch.setenv("XDG_DATA_HOME", "")
    assert default_data_dir() == Path.home() / ".local" / "share" / "beholder"
