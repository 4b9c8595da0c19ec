"""Where settings come from: which source wins, and what is said of values that cannot be used."""

import math
from pathlib import Path
from typing import Any

import pytest

from beholder.config import load_settings, make_settings, to_environment
from beholder.errors import ConfigError


def problems(environment: dict[str, str], flags: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(environment, flags or {})
    return caught.value.problems


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    """Write a TOML file, and return the environment that names it."""

    def write(text: str) -> dict[str, str]:
        path = tmp_path / "beholder.toml"
        path.write_text(text, encoding="utf-8")
        return {"BEHOLDER_CONFIG": str(path)}

    return write


def test_without_any_source_there_are_the_defaults() -> None:
    loaded = load_settings({"PATH": "/bin", "HOST": "elsewhere"}, {})
    assert loaded.settings == make_settings()
    assert set(loaded.sources.values()) == {"default"}


def test_the_later_source_wins_and_each_is_named(toml: Any) -> None:
    # given
    environment = toml("port = 1\nworkers = 1\nhost = '0.0.0.0'\n")
    environment |= {"BEHOLDER_PORT": "2", "BEHOLDER_WORKERS": "2"}
    # when
    loaded = load_settings(environment, {"port": "3", "model": (), "precision": None})
    # then
    settings, sources = loaded.settings, loaded.sources
    assert (settings.web.port, settings.machine.workers, settings.web.host) == (3, 2, "0.0.0.0")  # noqa: S104
    assert sources["port"] == "--port"
    assert sources["workers"] == "BEHOLDER_WORKERS"
    assert sources["host"] == environment["BEHOLDER_CONFIG"]
    assert sources["model"] == sources["precision"] == "default"


def test_every_problem_of_every_source_is_reported_at_once(toml: Any) -> None:
    # given
    environment = toml("batch_max = 101\ncolour = 'red'\n")
    environment |= {"BEHOLDER_PORT": "http", "BEHOLDER_PROT": "80"}
    # when
    found = problems(environment, {"precision": "int8", "data_dir": ""})
    # then
    path = environment["BEHOLDER_CONFIG"]
    assert found == [
        f"{path}: batch_max is 101; use auto or a whole number from 1 to 100",
        f"{path}: there is no setting named 'colour'; `beholder config` lists them all",
        "BEHOLDER_PORT: port is 'http'; use a whole number from 0 to 65535",
        "BEHOLDER_PROT: there is no setting named 'prot'; `beholder config` lists them all",
        "--precision: precision is 'int8'; use one of auto, fp32, bf16",
        "--data-dir: data_dir is empty; give a folder, or leave it out for the one in your home",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "-1"),
        ("port", "65536"),
        ("port", ""),
        ("port", "9" * 5000),
        ("workers", "2.0"),
        ("wait_s_max", "nan"),
        ("wait_s_max", "inf"),
        ("drain_s", "soon"),
        ("log_level", "INFO"),
        ("log_form", ""),
        ("model", ""),
        ("model", " , ,"),
        ("data_dir", ""),
        ("data_dir", "~no-such-user/data"),
        ("prefix", "Upper"),
        ("prefix", ""),
        ("prefix", "x" * 28),
        ("prefix", "-zoo"),
        ("host", ""),
    ],
)
def test_a_value_out_of_bounds_is_a_problem_that_names_its_setting(name: str, value: str) -> None:
    variable = f"BEHOLDER_{name.upper()}"
    (found,) = problems({variable: value})
    assert found.startswith(f"{variable}: {name} is ") or found == (
        f"{variable}: {name} names no model; leave it out for the built-in one"
    )


@pytest.mark.parametrize(
    "line",
    [
        "port = true",
        "port = 80.9",
        "port = inf",
        "port = [80]",
        "model = 5",
        "model = [1, 2]",
        "model = []",
        "data_dir = 5",
        "host = ['a', 'b']",
        "drain_s = nan",
        "prefix = 1979-05-27",
        "[port]\nnumber = 80",
    ],
)
def test_a_value_of_the_wrong_kind_in_a_file_is_a_problem(toml: Any, line: str) -> None:
    environment = toml(line)
    (found,) = problems(environment)
    assert found.startswith(f"{environment['BEHOLDER_CONFIG']}: ")


def test_a_file_holds_numbers_texts_and_lists(toml: Any) -> None:
    environment = toml("port = 80\ndrain_s = 5\nworkers = 2.0\nmodel = ['a', 'b,c']\ndata_dir = 'data'\n")
    settings = load_settings(environment, {}).settings
    assert (settings.web.port, settings.worker.drain_s, settings.machine.workers) == (80, 5.0, 2)
    assert settings.worker.model == ("a", "b", "c")
    assert settings.deployment.data_dir == Path("data").absolute()


@pytest.mark.parametrize("value", ["a,b", " a , b ", "a,,b,"])
def test_models_are_named_with_commas_between(value: str) -> None:
    assert load_settings({"BEHOLDER_MODEL": value}, {}).settings.worker.model == ("a", "b")
    assert load_settings({}, {"model": (value,)}).settings.worker.model == ("a", "b")
    assert load_settings({}, {"model": ("a", "b")}).settings.worker.model == ("a", "b")


def test_a_home_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (
        load_settings({"BEHOLDER_DATA_DIR": "~/data"}, {}).settings.deployment.data_dir == tmp_path / "data"
    )


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"BEHOLDER_WAIT_S_DEFAULT": "30", "BEHOLDER_WAIT_S_MAX": "20"},
            "wait_s_default (30.0) is above wait_s_max (20.0); lower it",
        ),
        (
            {"BEHOLDER_IMAGE_SIDE_MIN": "30", "BEHOLDER_IMAGE_SIDE_MAX": "20"},
            "image_side_min (30) is above image_side_max (20); lower it",
        ),
        (
            {"BEHOLDER_UPLOADS_BYTES_MAX": "1000000"},
            "image_bytes_max (20000000) is above uploads_bytes_max (1000000); lower it",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_a_problem(environment: dict[str, str], said: str) -> None:
    assert problems(environment) == [said]


def test_all_that_does_not_fit_together_is_said_at_once() -> None:
    found = problems({"BEHOLDER_OUTPUT_BUCKET": "_", "BEHOLDER_PREFIX": "_", "BEHOLDER_WAIT_S_MAX": "1"})
    assert len(found) == 3


def test_a_stack_s_outputs_win_over_the_file_and_lose_to_the_environment(toml: Any) -> None:
    # given
    environment = toml("stack = 'zoo'\ninput_bucket = 'from-file'\nregion = 'eu-west-1'\n")
    environment["BEHOLDER_OUTPUT_BUCKET"] = "from-environment"
    outputs = {"InputBucket": "from-stack", "OutputBucket": "from-stack", "PageUrl": "http://zoo"}
    asked = []
    # when
    loaded = load_settings(
        environment, {}, outputs_of=lambda stack, region: asked.append((stack, region)) or outputs
    )
    # then
    assert asked == [("zoo", "eu-west-1")]
    assert (loaded.settings.store.input_bucket, loaded.sources["input_bucket"]) == ("from-stack", "stack zoo")
    assert loaded.settings.store.output_bucket == "from-environment"
    assert loaded.settings.deployment.backend == "aws"


def test_no_stack_is_read_where_none_is_named() -> None:
    def read(stack: str, region: str) -> dict[str, str]:
        raise AssertionError(stack, region)

    assert load_settings({}, {}, outputs_of=read).settings == make_settings()


def test_the_region_is_aws_s_own_variable_unless_ours_says_otherwise() -> None:
    environment = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-north-1"}
    assert load_settings(environment, {}).settings.deployment.region == "eu-north-1"
    environment["BEHOLDER_REGION"] = "sa-east-1"
    assert load_settings(environment, {}).settings.deployment.region == "sa-east-1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_bucket", "Zoo"),
        ("output_bucket", "ab"),
        ("input_queue", "a b"),
        ("dead_letter_queue", "https://sqs.example/1/q"),
        ("output_queue", "q" * 41),
    ],
)
def test_a_name_that_no_backend_takes_is_a_problem(name: str, value: str) -> None:
    (problem,) = problems({f"BEHOLDER_{name.upper()}": value})
    assert name in problem
    assert repr(value) in problem


def test_a_queue_on_aws_may_be_named_by_its_url() -> None:
    url = "https://sqs.us-east-1.amazonaws.com/123456789012/zoo"
    settings = load_settings({"BEHOLDER_BACKEND": "aws", "BEHOLDER_INPUT_QUEUE": url}, {}).settings
    assert (settings.queue.input_queue, settings.queue.dead_letter_queue) == (url, "zoo-dead")
    assert (settings.worker.batch_max, settings.worker.consumers) == (20, 2 * settings.machine.workers)


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert problems({"BEHOLDER_CONFIG": str(path)}) == [
        f"BEHOLDER_CONFIG: cannot read {path}: No such file or directory; correct the path or unset it"
    ]
    assert problems({"BEHOLDER_CONFIG": str(tmp_path)}) == [
        f"BEHOLDER_CONFIG: cannot read {tmp_path}: Is a directory; correct the path or unset it"
    ]


@pytest.mark.parametrize("content", [b"port = ", b"port = 80\nport = 81\n", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_a_problem(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    (found,) = problems({"BEHOLDER_CONFIG": str(path)})
    assert found.startswith(f"{path}: not a TOML file: ")


def test_an_empty_name_of_a_file_is_none() -> None:
    assert load_settings({"BEHOLDER_CONFIG": ""}, {}).settings == make_settings()


def test_networks_of_proxies_are_read_and_a_wrong_one_is_told() -> None:
    for text, networks in (
        ("none", ()),
        ("10.0.0.0/16, 192.0.2.7,fd00::/8", ("10.0.0.0/16", "192.0.2.7/32", "fd00::/8")),
    ):
        settings = load_settings({"BEHOLDER_TRUSTED_PROXIES": text}, {}).settings
        assert settings.web.trusted_proxies == networks
    for wrong in ("*", "10.0.0.1/16", "balancer", "10.0.0.0/33"):
        with pytest.raises(ConfigError, match="trusted_proxies has"):
            load_settings({"BEHOLDER_TRUSTED_PROXIES": f"10.0.0.0/8,{wrong}"}, {})


FOLLOWING = (
    *("batch_max", "consumers", "latency_goal_s"),
    *("input_bucket", "output_bucket", "input_queue", "dead_letter_queue", "output_queue"),
)


@pytest.mark.parametrize("backend", ["local", "aws"])
@pytest.mark.parametrize("name", FOLLOWING)
def test_auto_is_the_default_whatever_an_earlier_source_says(toml: Any, name: str, backend: str) -> None:
    other = 9 if name in FOLLOWING[:3] else "'other'"
    environment = toml(f"{name} = {other}\n")
    environment["BEHOLDER_BACKEND"] = backend
    assert load_settings(environment, {}).settings != make_settings(backend=backend)
    environment[f"BEHOLDER_{name.upper()}"] = "auto"
    assert load_settings(environment, {}).settings == make_settings(backend=backend)


@pytest.mark.parametrize(
    ("name", "unset"),
    [
        *((name, "") for name in (*FOLLOWING, "idle_s_max")),
        # A queue may be called 0.
        *((name, text) for name in (*FOLLOWING[:3], "idle_s_max") for text in ("0", "inf")),
    ],
)
def test_nothing_but_a_word_leaves_a_setting_unset(name: str, unset: str) -> None:
    (problem,) = problems({f"BEHOLDER_{name.upper()}": unset})
    assert f"{name} is" in problem
    assert "auto" in problem


def test_a_worker_that_never_leaves_is_told_by_a_word() -> None:
    settings = load_settings({"BEHOLDER_IDLE_S_MAX": "never"}, {}).settings
    assert settings.worker.idle_s_max == math.inf
    assert to_environment(settings)["BEHOLDER_IDLE_S_MAX"] == "never"


@pytest.mark.parametrize(("workers", "kept"), [(0, 0), (1, 1), (2, 2), (8, 2)])
def test_two_workers_stay_by_default_and_never_more_than_there_may_be(workers: int, kept: int) -> None:
    environment = {"BEHOLDER_WORKERS": str(workers)}
    assert load_settings(environment, {}).settings.machine.workers_min == kept
    assert load_settings(environment | {"BEHOLDER_WORKERS_MIN": "0"}, {}).settings.machine.workers_min == 0
