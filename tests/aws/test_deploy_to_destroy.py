"""A deployment from its first minute to its last, by the commands alone, with instances that boot.

The emulator's Elastic IP is an address of this machine's loopback; `ec2.addresses` plays the part of the
network and leads it to whichever instance has it.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from aws.emulators import ROOT, emulator
from aws.end_to_end import PORT, WAIT_S, Clients, another, prepare, run
from aws.listing import everything
from beholder.deploy.bundle import Bundle
from beholder.deploy.web_tier import WebTier
from ec2.addresses import ElasticIps
from ec2.harness import Ec2Harness

pytestmark = [pytest.mark.aws, pytest.mark.slow]

WORKERS_MAX = 4
# All at once, which is work for more workers than there may be.
REQUESTS = 40
ESPRESSO = 967
# Without these the test would wait for what takes real fleets minutes.
HASTE = {
    "BEHOLDER_IDLE_S_MAX": "8",
    "BEHOLDER_DEPTH_LAG_S": "1",
    "BEHOLDER_STARTUP_S": "60",
    "BEHOLDER_TICK_S": "1",
}


def large_photo() -> bytes:
    """Return a photo of 35 megapixels, which takes a worker half a second and the emulator no longer."""
    with Image.open(ROOT / "samples" / "coffee.jpg") as photo:
        large = photo.resize((photo.width * 12, photo.height * 12), Image.Resampling.NEAREST)
    with io.BytesIO() as written:
        large.save(written, "PNG", compress_level=1)
        return written.getvalue()


@contextlib.contextmanager
def loading(url: str, key: str, photo: Path) -> Iterator[dict[str, Any]]:
    """Run `beholder load` beside the context, which ends with it; its report comes at the end."""
    expect = photo.with_suffix(".csv")
    expect.write_text(f"file,index,name\n{photo.name},{ESPRESSO},espresso\n")
    what = ["--url", f"{url}/v1/classify", "--image_folder", str(photo.parent), "--expect", str(expect)]
    step = ["--num_request", str(REQUESTS), "--concurrency", str(REQUESTS), "--timeout", f"{WAIT_S:.0f}"]
    # An emulator that shares two cores with all this may be late, which is a 503 that says when to try again.
    command = [sys.executable, "-m", "beholder", "load", *what, *step, "--retry-503", "--json", "--quiet"]
    report: dict[str, Any] = {}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "BEHOLDER_API_KEY": key}
    ) as load:
        try:
            yield report
            printed, _ = load.communicate(timeout=WAIT_S)
        finally:
            load.kill()
    print(f"$ beholder load\n{printed}")
    assert load.returncode == 0, printed
    report.update(json.loads(printed))


def test_a_deployment_lives_grows_is_upgraded_under_load_and_leaves_nothing(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    moto, name = emulator("moto"), "e2e"
    image = prepare(moto, monkeypatch, [bundle, another(bundle, tmp_path)])
    before = everything(moto)
    with Ec2Harness(moto.endpoint, HASTE, covered=[ROOT, Path(sys.prefix)]) as harness:
        addresses = ElasticIps(moto, harness, PORT)
        # Nothing leads to the instance's own address, either.
        monkeypatch.setattr(WebTier, "own_url", lambda _tier, instance: harness.url(instance, PORT))
        try:
            # when: one command
            options = ["--image", image, "--expose", "cidr=127.0.0.0/8", "--max", str(WORKERS_MAX)]
            types = ["--instance-types", "c6a.large,c6i.large", "--latency-goal", "0.5"]
            made = run("deploy", name, *options, *types, "--yes").output
            # then: an image came through, and a key is there
            assert "an image came back recognised" in made
            url = made.partition(f"{name} answers at ")[2].partition("\n")[0]
            key = made.partition("BEHOLDER_API_KEY=")[2].partition("\n")[0]
            address = urlsplit(url).hostname or ""
            web = addresses.holder(address)
            photo = tmp_path / "photos" / "espresso.png"
            photo.parent.mkdir()
            photo.write_bytes(large_photo())

            def workers() -> list[str]:
                return [one for one in harness.startups if one not in webs and one not in harness.ended]

            webs = {web}
            harness.wait_for(lambda: not workers(), WAIT_S)

            # when: a step from zero
            with loading(url, key, photo) as report:
                # then: as many instances as may be come
                harness.wait_for(lambda: len(workers()) == WORKERS_MAX, WAIT_S)
            # and: every request was answered rightly, by a job of its own, and they leave again
            assert report["requests"] == report["answered"] == report["unique_jobs"] == REQUESTS, report
            assert report["accuracy"] == {"known": REQUESTS, "top_1": REQUESTS, "top_5": REQUESTS}
            harness.wait_for(lambda: not workers(), WAIT_S)

            # when: an upgrade under load
            clients = Clients(url, key, photo.read_bytes())
            with clients.sending(at_once=2):
                run("upgrade", name, "--yes")
            # then: nothing is lost, and another instance has the address
            assert set(clients.answers) == {"espresso"}
            assert web in harness.ended
            assert addresses.holder(address) in set(harness.startups) - set(harness.ended)

            # when
            run("destroy", name, "--yes", "--delete-data")
            # then
            assert everything(moto) - before == set()
            harness.wait_for(lambda: len(harness.ended) == len(harness.startups), WAIT_S)
        finally:
            addresses.close()
