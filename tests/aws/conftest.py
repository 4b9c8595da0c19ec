"""Fixtures that several files of these tests share."""

from pathlib import Path

import pytest

from aws.emulators import Emulator, emulator
from beholder.deploy.bundle import Bundle
from ec2.bundles import bundle_in


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Bundle:
    """The bundle of this checkout, one for all processes of a run; an instance that boots fetches it."""
    own: Path = tmp_path_factory.getbasetemp()
    return bundle_in(own if worker_id == "master" else own.parent)


@pytest.fixture(scope="session")
def moto() -> Emulator:
    return emulator("moto")


@pytest.fixture
def calls_go_to_moto(moto: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the deployer's own calls, which name no endpoint, go to the emulator too."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
