"""What one tick of the controller costs with 1, 10, 100 and 1,000 instances: calls of an API, and CPU time.

    python bench/tick.py [--ticks N] [--instances 1,10,100,1000]

Once with queue, store and fleet in memory, which leaves the cost of looking, deciding and recording; once on
moto, which counts the calls and adds what the clients of AWS compute on their answers. A third of the
instances is busy, a third idle, the others pending; no tick launches. CPU is that of this process: the
emulator runs in another one.
"""

import argparse
import itertools
import secrets
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from aws.emulators import REGION, Emulator, emulator
from beholder.clock import SystemClock
from beholder.fleet import Fleet, MemoryFleet
from beholder.fleet.ec2 import Ec2Fleet, Template
from beholder.fleet.ec2_client import Ec2Client
from beholder.queue import MemoryQueue, Queue
from beholder.queue.sqs import SqsQueue
from beholder.queue.sqs_client import SqsClient
from beholder.scaling import InstanceState, Limits
from beholder.scaling.controller import Controller, ControllerPorts, SoleLeader
from beholder.scaling.heartbeats import write_heartbeat
from beholder.scaling.lease import StoreLease
from beholder.scaling.ports import Lease
from beholder.scaling.records.decision_log import DecisionLog
from beholder.scaling.records.snapshot import LatestRecord, Tee
from beholder.scaling.sensor import FleetSensor
from beholder.store import MemoryStore, Store
from beholder.store.s3 import S3Store

_BUSY = (True, False, None)
_LAUNCHED_AT_ONCE = 100


@dataclass
class World:
    """Queue, store and fleet, and how many calls of an API they have made."""

    queue: Queue
    store: Store
    fleet: Fleet
    lease: Lease
    calls: Callable[[], Mapping[str, int]] = dict


def in_memory() -> World:
    return World(MemoryQueue(), MemoryStore(), MemoryFleet(room=10_000), SoleLeader())


def on_moto(aws: Emulator) -> World:
    ec2 = aws.client("ec2")
    name = f"bench-{secrets.token_hex(4)}"
    (image, *_) = ec2.describe_images(Owners=["amazon"])["Images"]
    data = {"ImageId": image["ImageId"], "InstanceType": "c7a.large"}
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    client = Ec2Client(region=REGION, endpoint=aws.endpoint)
    sqs = SqsClient(region=REGION, endpoint=aws.endpoint)
    store = S3Store(aws.make_bucket(), region=REGION, endpoint=aws.endpoint)

    def calls() -> Mapping[str, int]:
        named = {"sqs": sqs.calls, "s3": store.calls, "ec2": client.calls}
        return {f"{service}:{one}": count for service, of in named.items() for one, count in of.items()}

    return World(
        SqsQueue(aws.make_queue(), client=sqs),
        store,
        Ec2Fleet(client, name, Template(name)),
        StoreLease(store, "bench", SystemClock(), period_s=20.0),
        calls,
    )


def ready(world: World, instances: int) -> Controller:
    """Return a controller of a fleet with as many instances, which has learnt what there is."""
    numbers = itertools.count()
    left = instances
    while left:
        left -= len(world.fleet.launch(count=min(left, _LAUNCHED_AT_ONCE), token=f"t{next(numbers)}").ids)
    for one, is_busy in zip(world.fleet.describe(), itertools.cycle(_BUSY), strict=False):
        if is_busy is not None:
            write_heartbeat(world.store, one.id, InstanceState.IN_SERVICE, is_busy=is_busy)
    world.queue.send([b"image"])
    records = Tee(DecisionLog(world.store, "bench"), LatestRecord(world.store))
    sensor = FleetSensor(world.queue, world.fleet, world.store, SystemClock())
    ports = ControllerPorts(sensor, world.fleet, world.lease, records, lambda: f"t{next(numbers)}")
    controller = Controller(ports, Limits(max=instances), name="bench")
    for _ in range(3):
        controller.tick()
    return controller


def cpu_ms(controller: Controller, ticks: int) -> list[float]:
    found = []
    for _ in range(ticks):
        began_s = time.process_time()
        controller.tick()
        found.append((time.process_time() - began_s) * 1000)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=int, default=50)
    parser.add_argument("--instances", default="1,10,100,1000")
    asked = parser.parse_args()
    aws = emulator("moto")
    print("| instances | our CPU, ms, median | highest | with AWS's clients, median | calls per tick |")
    print("|---|---|---|---|---|")
    for instances in map(int, asked.instances.split(",")):
        ours = cpu_ms(ready(in_memory(), instances), asked.ticks)
        world = on_moto(aws)
        controller = ready(world, instances)
        before = Counter(world.calls())
        clients = cpu_ms(controller, max(3, asked.ticks // 5))
        made = Counter(world.calls())
        made.subtract(before)
        count = max(3, asked.ticks // 5)
        calls = ", ".join(f"{name} {made[name] / count:.1f}" for name in sorted(made) if made[name])
        print(
            f"| {instances:,} | {statistics.median(ours):.2f} | {ours[-1]:.2f} "
            f"| {statistics.median(clients):.1f} | {calls} |"
        )


if __name__ == "__main__":
    main()
