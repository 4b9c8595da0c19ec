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
