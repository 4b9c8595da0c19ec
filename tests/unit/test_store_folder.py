"""What the folder store adds to the contract: what else lies in the folder, and errors."""

from pathlib import Path

import pytest

from beholder.config import make_settings
from beholder.errors import BackendDenied, BackendError, BackendUnavailable, ObjectNotFound
from beholder.store import FolderStore
from beholder.wiring.local import local_profile


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "bucket"


def keys_of(store: FolderStore) -> list[str]:
    return [info.key for info in store.list("")]


def test_what_a_killed_process_left_behind_is_no_object(root: Path) -> None:
    store = FolderStore(root)
    store.put("a/k", b"whole", metadata={"m": "1"})
    # given the files that obstore and the store itself were writing when they were killed
    (root / "a" / "k#1").write_bytes(b"ha")
    (root / "a" / "other#12").write_bytes(b"ha")
    (root / ".metadata" / "a" / "k#0").write_bytes(b"{")
    (root / ".metadata" / "a" / "k#1").write_bytes(b"{")
    # then neither is seen, and neither is in the way
    assert keys_of(store) == ["a/k"]
    with pytest.raises(ObjectNotFound):
        store.get("a/other")
    store.put("a/k", b"again", metadata={"m": "2"})
    assert (store.get("a/k"), dict(store.head("a/k").metadata)) == (b"again", {"m": "2"})
    assert keys_of(store) == ["a/k"]


def test_strange_files_are_left_alone(root: Path) -> None:
    store = FolderStore(root)
    store.put("k", b"x")
    (root / ".DS_Store").touch()
    (root / "empty").mkdir()
    assert keys_of(store) == ["k"]


def test_two_stores_share_a_folder(root: Path) -> None:
    one, two = FolderStore(root), FolderStore(root)
    one.put("k", b"x", metadata={"m": "1"})
    assert (two.get("k"), dict(two.head("k").metadata)) == (b"x", {"m": "1"})


def test_an_empty_folder_does_not_stay(root: Path) -> None:
    store = FolderStore(root)
    store.put("images/1/a.jpg", b"x", metadata={"m": "1"})
    store.delete("images/1/a.jpg")
    assert not (root / "images").exists()
    assert not (root / ".metadata").exists()


def test_a_key_cannot_be_the_folder_of_another(root: Path) -> None:
    store = FolderStore(root)
    store.put("a/b", b"x")
    for key in ("a", "a/b/c"):
        for metadata in (None, {"m": "1"}):
            with pytest.raises(BackendDenied):
                store.put(key, b"y", metadata=metadata)
    assert keys_of(store) == ["a/b"]
    store.delete("a/b")
    store.put("a", b"y")
    assert keys_of(store) == ["a"]


@pytest.mark.parametrize("is_file_there", [False, True])
def test_a_folder_that_is_gone_is_unavailable(root: Path, *, is_file_there: bool) -> None:
    store = FolderStore(root)
    root.rename(root.with_name("elsewhere"))
    if is_file_there:
        root.touch()
    with pytest.raises(BackendUnavailable):
        store.put("k", b"x")
    # It is no empty bucket: a worker would take every image in it for one that was deleted.
    for ask in (store.get, store.head, store.delete, lambda _: keys_of(store)):
        with pytest.raises(BackendUnavailable):
            ask("k")


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackendError):
        FolderStore(tmp_path / "file")


def test_a_listing_does_not_read_ahead(root: Path) -> None:
    store = FolderStore(root)
    for key in ("a/1", "b/1", "c/1"):
        store.put(key, b"x")
    listing = store.list("")
    assert next(listing).key == "a/1"
    store.delete("b/1")
    assert [info.key for info in listing] == ["c/1"]


def test_a_folder_that_must_exist_is_not_made_anew(root: Path) -> None:
    FolderStore(root).put("images/a", b"a")
    assert FolderStore(root, must_exist=True).get("images/a") == b"a"
    lost = root.rename(root.with_name("lost"))

    with pytest.raises(BackendUnavailable, match="the folder is missing; put it back"):
        FolderStore(root, must_exist=True)

    assert lost.exists()
    assert not root.exists()


@pytest.mark.parametrize("number", [0, 1], ids=["input_bucket", "output_bucket"])
def test_only_the_start_of_the_service_makes_a_bucket_where_a_queue_is(tmp_path: Path, number: int) -> None:
    # given: a data folder in use, which has lost a bucket
    profile = local_profile(make_settings(data_dir=tmp_path))
    with profile.open_backends("worker-0"):
        pass
    settings = profile.settings.store
    bucket = tmp_path / "buckets" / (settings.input_bucket, settings.output_bucket)[number]
    bucket.rename(tmp_path / "lost")

    for opened in (lambda: profile.open_backends("up").__enter__(), profile.open_retention):
        with pytest.raises(BackendUnavailable, match="the folder is missing; put it back"):
            opened()
    assert not bucket.exists()

    profile.make_buckets()
    with profile.open_backends("worker-0"):
        assert bucket.is_dir()
