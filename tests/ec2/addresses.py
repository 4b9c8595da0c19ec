"""Plays the network that leads an Elastic IP, an address of loopback, to the instance that has it."""

import contextlib
import socket
import threading
import time
from typing import Any

from ec2.doors import Door, connect, relay
from ec2.harness import Ec2Harness

__all__ = ["ElasticIps"]

_LOOK_S = 0.5


class ElasticIps:
    """The Elastic IPs of an emulator that are allocated from now on.

    Args:
        emulator: Has the addresses.
        harness: Boots the instances that have them.
        port: On which they are reached.
    """

    def __init__(self, emulator: Any, harness: Ec2Harness, port: int) -> None:
        self._ec2, self._harness, self._port = emulator.client("ec2"), harness, port
        self._targets: dict[str, tuple[str, int]] = {}
        self._asking = threading.Lock()
        self._holders, self._asked_s = dict[str, str](), float("-inf")
        self._earlier = set(self._described())
        self._doors: dict[str, Door] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._listen_to_new)
        self._thread.start()

    def close(self) -> None:
        """Lead no more connections; call it when the instances have ended."""
        self._is_over.set()
        self._thread.join()
        for door in self._doors.values():
            door.close()

    def holder(self, address: str) -> str:
        """Return the instance that has an address, as it was within the last half second; empty for none."""
        with self._asking:
            if time.monotonic() >= self._asked_s + _LOOK_S:
                self._holders, self._asked_s = self._described(), time.monotonic()
            return self._holders.get(address, "")

    def _described(self) -> dict[str, str]:
        told = self._ec2.describe_addresses()["Addresses"]
        return {one["PublicIp"]: str(one.get("InstanceId", "")) for one in told}

    def _listen_to_new(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            for address in self._described().keys() - self._earlier - self._doors.keys():
                listener = socket.create_server((address, self._port), backlog=128)
                self._doors[address] = Door(listener, lambda near, to=address: self._lead(near, to))

    def _lead(self, near: socket.socket, address: str) -> None:
        with contextlib.suppress(KeyError):
            holder = self.holder(address)
            if holder not in self._targets:  # each call opens a door
                host, _, port = self._harness.url(holder, self._port).rpartition("//")[2].partition(":")
                self._targets.setdefault(holder, (host, int(port)))
            relay(near, connect(self._targets[holder]))
