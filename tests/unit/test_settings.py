"""The settings themselves, and the environment that hands them to a child process."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.config import DECLARED, load_settings, make_settings, to_environment, to_text, value_of
from beholder.config.declared import AUTO, Declared
from beholder.config.settings import default_data_dir
from beholder.config.texts import read
from beholder.errors import ConfigError

TEXT = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=20)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-./", min_size=1, max_size=20)


def value_of_type(one: Declared) -> st.SearchStrategy[object]:
    """Return values that the setting may have, those of its words included."""
    bounds = one.bounds
    words = st.sampled_from(list(bounds.words.values())) if bounds.words else st.nothing()
    if bounds.choices:
        return words | st.sampled_from(bounds.choices)
    if bounds.low is not None:
        number = st.integers if one.type is int else st.floats
        return words | number(bounds.low, bounds.high)
    if one.name == "s3_inputs":
        return st.lists(st.from_regex(r"[a-z0-9]{4,9}(/[a-z/]{0,9})?", fullmatch=True), max_size=3).map(tuple)
    if one.name in ("trusted_proxies", "webhook_networks"):
        return st.sampled_from([(), ("10.0.0.0/16",), ("192.0.2.7/32", "fd00::/8")])
    if one.name == "prefix" or one.name.endswith(("_bucket", "_queue")):
        return st.from_regex(r"[a-z0-9][a-z0-9-]{1,25}[a-z0-9]", fullmatch=True)
    return words | BY_TYPE[one.type].filter(lambda value: str(value) not in bounds.words)


BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    tuple[str, ...]: st.lists(NAMES, min_size=1, max_size=3).map(tuple),
    Path: st.lists(NAMES.map(lambda part: part.strip("./") or "x"), max_size=3).map(
        lambda parts: Path("/", *parts)
    ),
    Mapping[str, float]: st.dictionaries(
        st.from_regex(r"[a-z0-9.]{1,9}(/spot)?", fullmatch=True), st.floats(0, 1e6), min_size=1, max_size=3
    ),
}


# The first of a pair may not exceed the second.
PAIRS = (
    ("wait_s_default", "wait_s_max"),
    ("workers_min", "workers"),
    ("image_side_min", "image_side_max"),
    ("image_bytes_max", "uploads_bytes_max"),
    ("fleet_min", "fleet_max"),
)


def fitted(flat: dict[str, Any]) -> dict[str, Any]:
    """Swap what does not fit together; to filter it out leaves so little that hypothesis gives up."""
    for low, high in PAIRS:
        flat[low], flat[high] = sorted((flat[low], flat[high]))
    if flat["webhook_secrets"] is None:  # nothing would sign
        flat["webhooks"] = "off"
    return flat


ANY_VALUES = st.fixed_dictionaries({name: value_of_type(one) for name, one in DECLARED.items()})
NUMBERS = [one for one in DECLARED.values() if one.bounds.low is not None]
EVERY = pytest.mark.parametrize("one", DECLARED.values(), ids=lambda one: one.name)


@given(flat=ANY_VALUES.map(fitted))
def test_a_child_process_gets_the_same_settings(flat: dict[str, Any]) -> None:
    settings = make_settings(**flat)
    assert {name: value_of(settings, name) for name in DECLARED} == flat
    assert load_settings(to_environment(settings), {}).settings == settings


@EVERY
def test_every_setting_says_what_it_means_and_has_a_default_within_its_bounds(one: Declared) -> None:
    assert one.meaning.endswith(".")
    text = AUTO if one.bounds.is_auto else to_text(one, one.default)
    assert read(one, text) == one.default
    assert one.name == "precision" or value_of(make_settings(), one.name) != AUTO


@pytest.mark.parametrize("one", NUMBERS, ids=lambda one: one.name)
def test_a_number_beyond_its_bounds_is_refused_with_what_to_use(one: Declared) -> None:
    low, high = one.bounds.low, one.bounds.high
    assert low is not None
    assert high is not None
    assert high < math.inf
    step, unit = (1 if one.type is int else 1e-3), list(one.bounds.units)[-1:] or [""]
    for beyond in (low - step, high + max(step, high * 1e-6)):
        with pytest.raises(ValueError, match=r"; use "):
            read(one, f"{beyond}{unit[0]}")


@EVERY
def test_words_are_taken_where_they_mean_something_and_nowhere_else(one: Declared) -> None:
    for word in ("auto", "never", "none", "forever"):
        if word in one.bounds.words:
            assert read(one, word) == one.bounds.words[word]
        elif word in one.bounds.choices or (word == AUTO and one.bounds.is_auto):
            assert read(one, word) == word
        elif one.type in {int, float} or one.bounds.choices or one.name == "prices":
            with pytest.raises(ValueError, match="; "):
                read(one, word)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("batch_max", "auto"),
        ("consumers", "auto"),
        ("latency_goal_s", "auto"),
        ("idle_s_max", "auto or never"),
        ("budget_per_hour", "none"),
    ],
)
def test_zero_is_no_longer_a_word(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is 0.*; use {words} or a "):
        load_settings({f"BEHOLDER_{name.upper()}": "0"}, {})


@pytest.mark.parametrize(
    "name",
    [
        "stack",
        "launch_template",
        "kms_key",
        "input_bucket",
        "input_queue",
        "instance_types",
        "subnets",
        "host",
    ],
)
def test_an_empty_text_is_no_word(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is .*; use "):
        load_settings({f"BEHOLDER_{name.upper()}": ""}, {})


@pytest.mark.parametrize(("backend", "batch_max", "latency_goal_s"), [("local", 4, 0.25), ("aws", 20, 30.0)])
def test_auto_follows_the_backend(backend: str, batch_max: int, latency_goal_s: float) -> None:
    settings = make_settings(backend=backend)
    assert (settings.worker.batch_max, settings.fleet.latency_goal_s) == (batch_max, latency_goal_s)
    given_auto = {"BEHOLDER_BACKEND": backend, "BEHOLDER_BATCH_MAX": "auto", "BEHOLDER_INPUT_QUEUE": "auto"}
    assert load_settings(given_auto, {}).settings == settings


def test_names_begin_with_the_prefix() -> None:
    queue, store = make_settings(prefix="zoo").queue, make_settings(prefix="zoo").store
    assert queue.input_queue == "zoo-input-queue"
    assert queue.dead_letter_queue == "zoo-input-queue-dead"
    assert queue.output_queue == "zoo-output-queue"
    assert store.input_bucket == "zoo-input-bucket"
    assert store.output_bucket == "zoo-output-bucket"


@pytest.mark.parametrize("backend", ["local", "aws"])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"prefix": "z" * 27}, id="longest_prefix"),
        pytest.param({"input_queue": "q" * 75}, id="longest_queue_that_names_its_dead_letter_queue"),
        pytest.param({}, id="more_cores_than_workers_may_be"),
    ],
)
def test_a_child_takes_every_value_that_follows_from_others(
    monkeypatch: pytest.MonkeyPatch, backend: str, values: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(512)))
    environment = {
        f"BEHOLDER_{name.upper()}": value for name, value in (values | {"backend": backend}).items()
    }
    settings = load_settings(environment, {}).settings

    assert load_settings(to_environment(settings), {}).settings == settings


@pytest.mark.parametrize("name", ["q" * 76, "https://sqs.us-east-1.amazonaws.com/123456789012/" + "q" * 80])
def test_a_queue_whose_dead_letter_queue_would_have_too_long_a_name_is_refused(name: str) -> None:
    environment = {"BEHOLDER_BACKEND": "aws", "BEHOLDER_INPUT_QUEUE": name}

    with pytest.raises(ConfigError, match=r"BEHOLDER_INPUT_QUEUE: input_queue is .*; set dead_letter_queue"):
        load_settings(environment, {})

    assert load_settings(environment | {"BEHOLDER_DEAD_LETTER_QUEUE": "dead"}, {}).settings


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
    assert read(DECLARED["retention"], text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("10GB", 10**10), ("500MB", 5 * 10**8), ("1.5 kB", 1500), ("0B", 0), ("forever", None)]
)
def test_a_size_is_a_number_with_a_unit(text: str, size: int | None) -> None:
    assert read(DECLARED["retention_bytes_max"], text) == size


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
