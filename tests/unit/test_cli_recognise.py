"""Which files `beholder classify` takes for its arguments."""

from pathlib import Path

import pytest

from beholder.client.images import IMAGE_TYPES, STDIN, find_images
from beholder.errors import ConfigError
from beholder.loadgen.plan import images_in


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photos, a text, and a folder that some program keeps for itself."""
    folder = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "notes.txt", "sub/c.webp", ".metadata/d.jpg", "sub/.cache/deep/e.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("paths", [[""], ["a.png", ""], ["", "sub"]])
def test_an_empty_path_is_a_problem_and_not_the_current_folder(photos: Path, paths: list[str]) -> None:
    del photos
    with pytest.raises(ConfigError) as caught:
        find_images(paths)
    assert caught.value.problems == [
        "a path is empty; give a file, a folder or a pattern, or . for the current folder"
    ]


def test_every_wrong_path_is_reported(photos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_images(
            ["", "none.jpg", str(photos / ".metadata"), str(photos / "sub" / ".cache" / "deep" / "f")]
        )
    assert len(caught.value.problems) == 3
    assert "none.jpg is neither a file" in caught.value.problems[1]


def test_the_current_folder_is_a_dot(photos: Path) -> None:
    del photos
    assert find_images(["."]) == ["a.png", "b.JPG", "sub/c.webp"]


def test_hidden_folders_inside_a_folder_are_not_walked(photos: Path) -> None:
    assert find_images([f"{photos}/"]) == [str(photos / name) for name in ("a.png", "b.JPG", "sub/c.webp")]


def test_a_hidden_folder_that_is_named_is_walked(photos: Path) -> None:
    del photos
    assert find_images([".metadata", "sub/.cache"]) == [".metadata/d.jpg", "sub/.cache/deep/e.jpg"]


def test_a_folder_with_nothing_but_hidden_folders_holds_no_image(tmp_path: Path) -> None:
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / ".thumbnails" / "a.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match="holds no image"):
        find_images([str(tmp_path)])


def test_a_named_file_is_found_once_whatever_its_suffix(photos: Path) -> None:
    del photos
    assert find_images(["notes.txt", STDIN, "*.png", "a.png"]) == ["notes.txt", STDIN, "a.png"]


@pytest.mark.parametrize(
    "suffix", [".jfif", ".jpe", ".mpo", ".JFIF", ".pjpeg", ".pjp", ".jif", ".apng", ".dib"]
)
def test_an_image_of_a_rarer_name_is_found_by_classify_and_load_alike(suffix: str, tmp_path: Path) -> None:
    photo = tmp_path / f"photo{suffix}"
    photo.write_bytes(b"x")

    assert find_images([str(tmp_path)]) == [str(photo)]
    assert images_in(tmp_path) == (photo,)


def test_classify_and_load_take_files_of_the_same_names_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_images([str(tmp_path)])

    assert all(f"{suffix}," in f"{caught.value.problems[0][:-1]}," for suffix in IMAGE_TYPES)
    assert caught.value.problems[0].count(", ") == len(IMAGE_TYPES) - 1
