"""S3's host in each partition, by the URL that a store would ask."""

from datetime import timedelta
from urllib.parse import urlsplit

import obstore
import pytest

from beholder.store.s3 import S3Store

HOSTS = {
    "us-east-1": "s3.us-east-1.amazonaws.com",
    "us-gov-west-1": "s3.us-gov-west-1.amazonaws.com",
    "cn-north-1": "s3.cn-north-1.amazonaws.com.cn",
    "cn-northwest-1": "s3.cn-northwest-1.amazonaws.com.cn",
    "eusc-de-east-1": "s3.eusc-de-east-1.amazonaws.eu",
    "us-iso-east-1": "s3.us-iso-east-1.c2s.ic.gov",
    "us-isob-east-1": "s3.us-isob-east-1.sc2s.sgov.gov",
}


def _asked(monkeypatch: pytest.MonkeyPatch, region: str, bucket: str, **settings: str) -> tuple[str, str]:
    """Return host and path of a GET."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    store = S3Store(bucket, region=region, **settings)
    url = urlsplit(obstore.sign(store._files, "GET", "a/b", timedelta(60)))
    return str(url.netloc), url.path


@pytest.mark.parametrize("region", HOSTS)
def test_a_bucket_stands_in_the_host_of_its_partition(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    assert _asked(monkeypatch, region, "zoo") == (f"zoo.{HOSTS[region]}", "/a/b")


@pytest.mark.parametrize("region", HOSTS)
def test_a_bucket_with_a_dot_stands_in_the_path(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    assert _asked(monkeypatch, region, "zoo.example") == (HOSTS[region], "/zoo.example/a/b")


def test_an_endpoint_of_ones_own_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _asked(monkeypatch, "cn-north-1", "zoo", endpoint="https://s3.example")
    assert found == ("s3.example", "/zoo/a/b")
