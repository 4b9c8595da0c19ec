"""Models in a bucket are fetched into the cache, checked, and taken from there while they are the same."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from beholder.errors import (
    BackendDenied,
    BackendError,
    BackendUnavailable,
    ConfigError,
    ModelInvalid,
    ObjectNotFound,
)
from beholder.model.fetching import fetch_model, list_bucket
from tiny_models import tiny_graph, write_folder

ADDRESS = "s3://zoo/models/tiny"


class Bucket:
    """Objects in memory, read in small pieces; counts what was read by key."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads: Counter[str] = Counter()
        self.errors: dict[str, BackendError] = {}

    def put(self, folder: Path, prefix: str = "models/tiny/") -> None:
        self.objects |= {prefix + path.name: path.read_bytes() for path in folder.iterdir()}

    def pieces(self, bucket: str, key: str) -> Iterator[bytes]:
        self.reads[key.rpartition("/")[2]] += 1
        if error := self.errors.get(key.rpartition("/")[2]):
            raise error
        if bucket != "zoo" or key not in self.objects:
            raise ObjectNotFound("s3", "get", f"{bucket}: NoSuchKey")
        content = self.objects[key]
        yield from (content[start : start + 100] for start in range(0, len(content), 100))

    def folders(self, bucket: str, prefix: str) -> list[str]:
        assert bucket == "zoo"
        if error := self.errors.get("list"):
            raise error
        parts = {key.removeprefix(prefix).partition("/") for key in self.objects if key.startswith(prefix)}
        return sorted({f"{first}/" for first, slash, _ in parts if slash})


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    found = Bucket()
    found.put(write_folder(tmp_path / "source"))
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def kept(cache: Path) -> list[str]:
    """Return the names of all that the cache holds below the folder of the address."""
    (own,) = cache.iterdir()
    return sorted(path.name for path in own.iterdir())


def test_a_model_is_fetched_once_and_looked_at_each_time(bucket: Bucket, cache: Path) -> None:
    specs = [fetch_model(address, cache, bucket) for address in (ADDRESS, f"{ADDRESS}/", ADDRESS)]

    assert specs[0] == specs[1] == specs[2]
    assert specs[0].reference == "tiny@1"
    assert specs[0].onnx_path.read_bytes() == tiny_graph()
    assert bucket.reads == {"model.toml": 3, "labels.txt": 3, "model.onnx": 1}
    assert kept(cache) == ["lock", "tiny@1"]


def test_a_new_version_at_the_address_takes_the_place_of_the_old(
    bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    fetch_model(ADDRESS, cache, bucket)
    bucket.put(write_folder(tmp_path / "new", version="2 beta", graph=tiny_graph(batch=1)))

    spec = fetch_model(ADDRESS, cache, bucket)

    # A version that cannot name a folder is left out of its name.
    assert (spec.version, kept(cache)) == ("2 beta", ["lock", "tiny"])
    assert spec.onnx_path.read_bytes() == tiny_graph(batch=1)


def test_other_labels_alone_are_noticed(bucket: Bucket, cache: Path) -> None:
    fetch_model(ADDRESS, cache, bucket)
    bucket.objects["models/tiny/labels.txt"] = b"a\nb\nc\nd\n"

    assert fetch_model(ADDRESS, cache, bucket).labels == ("a", "b", "c", "d")
    assert bucket.reads["model.onnx"] == 2


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "model.toml"])
@pytest.mark.parametrize("change", [None, b"", b"damaged"])
def test_a_damaged_copy_is_mended(bucket: Bucket, cache: Path, name: str, change: bytes | None) -> None:
    folder = fetch_model(ADDRESS, cache, bucket).onnx_path.parent
    if change is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(change)

    spec = fetch_model(ADDRESS, cache, bucket)

    assert spec.onnx_path.read_bytes() == tiny_graph()
    assert bucket.reads["model.onnx"] == 2
    assert kept(cache) == ["lock", "tiny@1"]


@pytest.mark.parametrize("leftover", [".new-killed", ".old"])
def test_what_a_killed_process_left_is_removed(bucket: Bucket, cache: Path, leftover: str) -> None:
    own = fetch_model(ADDRESS, cache, bucket).onnx_path.parent.parent
    # It died while it fetched, or before the new folder had its name.
    write_folder(own / leftover)
    if leftover == ".old":
        (own / "tiny@1").rename(own / ".new-complete")

    fetch_model(ADDRESS, cache, bucket)

    assert kept(cache) == ["lock", "tiny@1"]


def test_without_an_answer_of_s3_a_sound_copy_is_used(
    bucket: Bucket, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.errors["model.toml"] = BackendUnavailable("s3", "get", "timed out")
    with pytest.raises(ConfigError, match=r"models/tiny/ cannot be reached .*timed out.*region") as refused:
        fetch_model(ADDRESS, cache, bucket)
    assert refused.value.may_pass
    bucket.errors.clear()
    spec = fetch_model(ADDRESS, cache, bucket)
    bucket.errors["model.toml"] = BackendUnavailable("s3", "get", "timed out")

    with caplog.at_level(logging.WARNING):
        assert fetch_model(ADDRESS, cache, bucket) == spec
    assert [record.__dict__["action"] for record in caplog.records] == ["model.not_compared"]
    spec.onnx_path.write_bytes(b"damaged")
    with pytest.raises(ModelInvalid, match="sha256"):
        fetch_model(ADDRESS, cache, bucket)


def test_an_answer_that_breaks_off_leaves_the_copy(bucket: Bucket, cache: Path) -> None:
    fetch_model(ADDRESS, cache, bucket)
    bucket.objects["models/tiny/model.toml"] += b"\n"
    bucket.errors["model.onnx"] = BackendUnavailable("s3", "get", "broke off")

    with pytest.raises(ConfigError, match="cannot be reached"):
        fetch_model(ADDRESS, cache, bucket)

    bucket.errors.clear()
    assert fetch_model(ADDRESS, cache, bucket).version == "1"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.onnx", r"s3://zoo/models/tiny: model\.onnx has sha256 \w+, model\.toml says \w+; the file"),
        (
            "labels.txt",
            r"s3://zoo/models/tiny: labels\.txt has sha256 \w+, model\.toml says \w+ as labels_sha",
        ),
    ],
)
def test_a_wrong_checksum_is_refused_and_nothing_kept(
    bucket: Bucket, cache: Path, name: str, words: str
) -> None:
    digest = hashlib.sha256(bucket.objects["models/tiny/labels.txt"]).hexdigest()
    table = bucket.objects["models/tiny/model.toml"]
    bucket.objects["models/tiny/model.toml"] = f'labels_sha256 = "{digest}"\n'.encode() + table
    fetch_model(ADDRESS, cache, bucket)
    bucket.objects[f"models/tiny/{name}"] += b"\n"
    bucket.objects["models/tiny/model.toml"] += b"\n"

    with pytest.raises(ModelInvalid, match=words) as refused:
        fetch_model(ADDRESS, cache, bucket)

    assert str(cache) not in str(refused.value)
    assert kept(cache) == ["lock", "tiny@1"]


@pytest.mark.parametrize("name", ["model.toml", "model.onnx", "labels.txt"])
def test_a_missing_file_and_missing_rights_are_told(bucket: Bucket, cache: Path, name: str) -> None:
    bucket.errors[name] = BackendDenied("s3", "get", "zoo: AccessDenied")
    with pytest.raises(
        ConfigError, match=r"may not be read .*AccessDenied.*needs s3:GetObject on the objects"
    ):
        fetch_model(ADDRESS, cache, bucket)
    bucket.errors.clear()
    del bucket.objects[f"models/tiny/{name}"]
    with pytest.raises(ConfigError, match=rf"tiny/ has no {name} .*NoSuchKey.*copy the whole folder there"):
        fetch_model(ADDRESS, cache, bucket)


@pytest.mark.parametrize("labels", ["../../labels.txt", "model.onnx", 3])
def test_labels_outside_the_folder_are_not_read(bucket: Bucket, cache: Path, labels: object) -> None:
    table = bucket.objects["models/tiny/model.toml"].decode()
    named = f'"{labels}"' if isinstance(labels, str) else str(labels)
    bucket.objects["models/tiny/model.toml"] = table.replace('"labels.txt"', named).encode()

    with pytest.raises((ModelInvalid, ConfigError)):
        fetch_model(ADDRESS, cache, bucket)

    assert set(bucket.reads) <= {"model.toml", "model.onnx", "3"}


def test_a_file_that_is_too_large_is_not_read_to_its_end(
    bucket: Bucket, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beholder.model.fetching.TEXT_BYTES_MAX", 100)

    with pytest.raises(ModelInvalid, match=r"tiny/model\.toml has more than 0 MB"):
        fetch_model(ADDRESS, cache, bucket)


@pytest.mark.parametrize(
    "address", ["s3://", "s3://zoo//tiny", "s3://Zoo/tiny", "s3:///tiny", "s3://zoo/a//b"]
)
def test_what_is_no_address_is_refused(bucket: Bucket, cache: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=r"write s3://bucket/prefix"):
        fetch_model(address, cache, bucket)


def test_a_cache_that_cannot_be_written_is_told(bucket: Bucket, cache: Path) -> None:
    cache.write_bytes(b"")

    with pytest.raises(ConfigError, match=r"Not a directory; s3://zoo/models/tiny cannot be kept there"):
        fetch_model(ADDRESS, cache, bucket)


def test_models_of_a_bucket_are_listed_without_their_graphs(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(write_folder(tmp_path / "b", name="other", version="7"), "models/b/")
    bucket.objects |= {"models/broken/model.toml": b"=", "models/none/photo.jpg": b""}

    found = list_bucket("s3://zoo/models", bucket)

    assert [(one.address, one.table.get("name"), bool(one.problem)) for one in found] == [
        ("s3://zoo/models/b", "other", False),
        ("s3://zoo/models/broken", None, True),
        ("s3://zoo/models/tiny", "tiny", False),
    ]
    assert [one.address for one in list_bucket(ADDRESS, bucket)] == [ADDRESS]
    assert set(bucket.reads) == {"model.toml"}
    with pytest.raises(ConfigError, match="no folder below it has one"):
        list_bucket("s3://zoo/models/none", bucket)
    bucket.errors["list"] = BackendDenied("s3", "list", "zoo: AccessDenied")
    with pytest.raises(ConfigError, match="needs s3:ListBucket"):
        list_bucket("s3://zoo/models", bucket)
