"""The store's contract on S3, as two emulators play it."""

import pytest

from aws.emulators import EMULATORS, REGION, Emulator, emulator
from beholder.store import Store
from beholder.testing import StoreContract

pytestmark = pytest.mark.aws


class TestS3Store(StoreContract):
    @pytest.fixture(params=EMULATORS)
    def aws(self, request: pytest.FixtureRequest) -> Emulator:
        return emulator(request.param)

    @pytest.fixture
    def store(self, aws: Emulator) -> Store:
        from beholder.store.s3 import S3Store  # noqa: PLC0415 -- only where the emulator is

        return S3Store(aws.make_bucket(), region=REGION, endpoint=aws.endpoint)


class TestS3StoreUnderAPrefix(TestS3Store):
    """A folder of the bucket is a store of its own."""

    @pytest.fixture
    def store(self, aws: Emulator) -> Store:
        from beholder.store.s3 import S3Store  # noqa: PLC0415

        bucket = aws.make_bucket()
        S3Store(bucket, region=REGION, endpoint=aws.endpoint).put("neighbour/a", b"not ours")
        return S3Store(bucket, region=REGION, endpoint=aws.endpoint, prefix="team/ours")
