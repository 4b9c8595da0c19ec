"""What a plan sends and when."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from beholder.errors import ConfigError
from beholder.loadgen.plan import Api, Arrival, LoadPlan, Shot, api_of, images_in, shots

URL = "http://127.0.0.1:8080/upload"


def images(number: int) -> tuple[Path, ...]:
    return tuple(Path(f"photo_{index}.jpg") for index in range(number))


def test_sends_every_image_once_by_default() -> None:
    plan = LoadPlan(URL, images(3))
    assert list(shots(plan)) == [Shot(0, 0, None), Shot(1, 1, None), Shot(2, 2, None)]


def test_cycles_when_more_requests_than_images() -> None:
    plan = LoadPlan(URL, images(3), request_count=7)
    assert [shot.image for shot in shots(plan)] == [0, 1, 2, 0, 1, 2, 0]


def test_a_duration_alone_leaves_the_closed_loop_unbounded() -> None:
    plan = LoadPlan(URL, images(2), duration_s=5.0)
    assert plan.request_count_max is None
    assert len(list(islice(shots(plan), 1000))) == 1000


def test_random_arrivals_are_the_same_for_the_same_seed() -> None:
    first, again, other = (
        list(shots(LoadPlan(URL, images(1), request_count=50, rate_per_s=10, seed=seed)))
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_random_arrivals_come_at_the_rate() -> None:
    plan = LoadPlan(URL, images(1), request_count=20_000, rate_per_s=50)
    *_, last = shots(plan)
    assert last.due_s == pytest.approx(400, rel=0.03)


def test_constant_arrivals_end_before_the_duration() -> None:
    plan = LoadPlan(URL, images(1), rate_per_s=4, arrival=Arrival.CONSTANT, duration_s=1.0)
    assert [shot.due_s for shot in shots(plan)] == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (LoadPlan(URL, images(100)), 16),
        (LoadPlan(URL, images(5)), 5),
        (LoadPlan(URL, images(5), duration_s=1), 16),
        (LoadPlan(URL, images(5), duration_s=1, rate_per_s=9, in_flight_max=30), 30),
    ],
)
def test_there_are_no_more_clients_than_requests(plan: LoadPlan, expected: int) -> None:
    assert plan.client_count == expected


def test_every_problem_of_a_plan_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        LoadPlan("ftp://nowhere", (), concurrency=0, rate_per_s=0, timeout_s=-1)
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("url", "api"),
    [
        (URL, Api.UPLOAD),
        ("http://h:8080", Api.UPLOAD),
        ("http://h/v1/classify", Api.V1),
        ("http://h/v1/classify?top_k=3", Api.V1),
    ],
)
def test_the_api_is_guessed_from_the_path(url: str, api: Api) -> None:
    assert api_of(url) is api


def test_images_come_in_natural_order_without_other_files(tmp_path: Path) -> None:
    for name in ("test_10.JPEG", "test_2.JPEG", "labels.csv", "a.png", "10.jpg", "9.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [path.name for path in images_in(tmp_path)] == [
        "9.jpg",
        "10.jpg",
        "a.png",
        "test_2.JPEG",
        "test_10.JPEG",
    ]


def test_a_missing_folder_is_reported_with_what_to_give(tmp_path: Path) -> None:
    # `beholder load` and `beholder demo` take the folder in different ways, so no option is named.
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere; give a folder with images$"):
        images_in(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder_is_answered_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.touch()
    with pytest.raises(ConfigError) as caught:
        images_in(photo)
    assert caught.value.message == f"{photo} is a file, not a folder; give its folder: {tmp_path}"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        images_in(Path("photo.jpg"))
    assert caught.value.message.endswith("give the current folder, which contains it: .")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda path: path.symlink_to("nowhere"), "there is no folder"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels"),
    ],
)
def test_a_folder_that_cannot_be_read_is_reported_with_the_cause(
    made: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    made(tmp_path / "link")
    with pytest.raises(ConfigError, match=words):
        images_in(tmp_path / "link")


def test_every_suffix_of_a_jpeg_is_an_image(tmp_path: Path) -> None:
    names = ["a.jpe", "b.JFIF", "c.mpo", "d.jpeg"]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in images_in(tmp_path)] == names


def test_a_folder_without_images_is_reported_with_the_known_kinds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no image; give one with files of these kinds: \.jpg"):
        images_in(tmp_path)


@pytest.mark.parametrize("key", ["a b", "a\nb", "ä"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        LoadPlan("http://127.0.0.1/upload", (Path("a.jpg"),), key=key)
    assert "API key" in refused.value.message
    assert key not in refused.value.message


def test_a_plan_does_not_show_its_key() -> None:
    assert "bhk_x" not in repr(LoadPlan("http://127.0.0.1/upload", (Path("a.jpg"),), key="bhk_x"))
