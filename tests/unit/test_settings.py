"""The settings themselves, and the environment that hands them to a child process."""

import math
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as configured
from hypothesis import strategies as st

from beholder.config import Settings, load_settings, make_settings, to_environment
from beholder.config.lists import age_of, bytes_of
from beholder.config.settings import default_data_dir
from beholder.errors import ConfigError

TEXT = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=20)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-./", min_size=1, max_size=20)

TEXTS: dict[str, st.SearchStrategy[object]] = {
    "model": st.lists(NAMES, min_size=1, max_size=3).map(tuple),
    "prices": st.from_regex(r"([a-z0-9.]{1,9}(/spot)?=[0-9]{1,3}\.[0-9]{1,4},){0,3}", fullmatch=True),
    "trusted_proxies": st.sampled_from(["", "10.0.0.0/16", "192.0.2.7,fd00::/8"]),
    "retention": st.sampled_from(["forever", "7d", "1.5h", "30m", "90s"]),
    "retention_bytes_max": st.sampled_from(["forever", "10GB", "0B"]),
}


def value_of(name: str) -> st.SearchStrategy[object]:
    """Return values that the setting may have."""
    one = next(one for one in fields(Settings) if one.name == name)
    low, high = one.metadata["low"], one.metadata["high"]
    if one.metadata["choices"]:
        return st.sampled_from(one.metadata["choices"])
    if low is not None:
        numbers = st.integers(low, high) if one.type is int else st.floats(low, high)
        return st.none() | st.just(math.inf) | numbers if one.type == float | None else numbers
    if one.type is Path:
        return st.lists(NAMES.map(lambda part: part.strip("./") or "x"), max_size=3).map(
            lambda parts: Path("/", *parts)
        )
    if name == "prefix" or name.endswith(("_bucket", "_queue")):
        return st.from_regex(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]", fullmatch=True)
    return TEXTS.get(name, TEXT)


# The first of a pair may not exceed the second.
PAIRS = (
    ("wait_s_default", "wait_s_max"),
    ("workers_min", "workers"),
    ("image_side_min", "image_side_max"),
    ("image_bytes_max", "uploads_bytes_max"),
    ("fleet_min", "fleet_max"),
)


def fitted(settings: Settings) -> Settings:
    """Swap what does not fit together; to filter it out leaves so little that hypothesis gives up."""
    for low, high in PAIRS:
        first, second = sorted((getattr(settings, low), getattr(settings, high)))
        settings = replace(settings, **{low: first, high: second})
    return settings


ANY_SETTINGS = st.builds(Settings, **{one.name: value_of(one.name) for one in fields(Settings)})


# Generating is slow on a machine that has other work; how slow says nothing.
@configured(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(settings=ANY_SETTINGS.map(fitted))
def test_a_child_process_gets_the_same_settings(settings: Settings) -> None:
    assert load_settings(to_environment(settings), {}).settings == settings


@pytest.mark.parametrize("one", fields(Settings), ids=lambda one: one.name)
def test_every_setting_says_what_it_means_and_has_a_bounded_default(one: Field[Any]) -> None:
    meaning, low, high = (one.metadata[name] for name in ("meaning", "low", "high"))
    assert meaning
    assert not meaning.endswith(".")
    if one.type in (int, float):
        value = getattr(make_settings(), one.name)
        assert low <= value <= high < math.inf
    if one.metadata["choices"]:
        assert one.default in one.metadata["choices"]


def test_names_begin_with_the_prefix() -> None:
    settings = make_settings(prefix="zoo")
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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7d", 604_800.0), ("1.5h", 5400.0), ("30m", 1800.0), ("90s", 90.0), ("forever", None)],
)
def test_an_age_is_a_number_with_a_unit(text: str, seconds: float | None) -> None:
    assert age_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("10GB", 10**10), ("500MB", 5 * 10**8), ("1.5 kB", 1500), ("0B", 0), ("forever", None)]
)
def test_a_size_is_a_number_with_a_unit(text: str, size: int | None) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    "text", ["", "7", "d", "-7d", "7 days", "7w", "0s", "nan", "1e3d", "999999d", "Forever"]
)
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="retention is"):
        load_settings({"BEHOLDER_RETENTION": text}, {})


@pytest.mark.parametrize("text", ["", "10", "GB", "-1GB", "10gb", "10GiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="retention_bytes_max is"):
        load_settings({"BEHOLDER_RETENTION_BYTES_MAX": text}, {})
