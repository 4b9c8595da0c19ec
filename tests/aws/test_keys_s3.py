"""API keys in a bucket on S3: made and revoked by the command line, known to a web process within seconds."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from aws.deployment import Deployment
from aws.emulators import EMULATORS, REGION, emulator
from beholder.api_keys import KnownKeys
from beholder.clock import ManualClock, SystemClock
from beholder.store.s3 import S3Store

pytestmark = pytest.mark.aws


@pytest.mark.parametrize("name", EMULATORS)
def test_a_key_in_a_bucket_is_known_until_it_is_revoked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What an emulator answers late is no slow store.
    monkeypatch.setattr("beholder.api_keys.known._SLOW_S_MAX", 60.0)
    aws = emulator(name)
    with Deployment(aws, tmp_path) as deployment:

        def keys(*arguments: str) -> str:
            command = [sys.executable, "-m", "beholder", "keys", *arguments, "--data-dir", str(tmp_path)]
            done = subprocess.run(
                command, env=deployment.environment, capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        results = S3Store(f"{deployment.prefix}-output-bucket", region=REGION, endpoint=aws.endpoint)
        clock = ManualClock(SystemClock().now_s())
        known = KnownKeys(results, clock)

        first, second = keys("create", "first"), keys("create", "second", "--scope", "admin")

        async def names() -> list[str | None]:
            found = [await known.find(key.encode()) for key in (first, second)]
            return [one and one.name for one in found]

        assert asyncio.run(names()) == ["first", "second"]
        assert results.calls == {"ListObjectsV2": 1, "GetObject": 2}
        assert keys("list").count("\n") == 1
        keys("revoke", first.split("_")[1])
        clock.advance(5)
        assert asyncio.run(names()) == [None, "second"]
        assert results.calls == {"ListObjectsV2": 2, "GetObject": 2}
