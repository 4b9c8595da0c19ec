"""moto's server, mended where it refuses what EC2 takes."""

import functools
from typing import Any

from moto.ec2.models.elastic_block_store import EBSBackend
from moto.ec2.responses.instances import InstanceResponse
from moto.server import main

# A disk of an image has the size of its snapshot unless its mapping says another; moto asks for one.
# Source: EC2 API reference, EbsBlockDevice, 2026-11.
_IMAGE_GIB = 8
_create_volume = EBSBackend.create_volume
_validate_device = InstanceResponse._validate_block_device_mapping


@functools.wraps(_create_volume)
def _create_sized(self: EBSBackend, size: int | None, *positional: Any, **named: Any) -> Any:
    snapshot = named.get("snapshot_id")
    return _create_volume(self, size or (None if snapshot else _IMAGE_GIB), *positional, **named)  # type: ignore[arg-type]


def _give_size(device: dict[str, Any]) -> None:
    if "SnapshotId" not in device.get("Ebs", {"SnapshotId": ""}):
        device["Ebs"].setdefault("VolumeSize", _IMAGE_GIB)
    _validate_device(device)


if __name__ == "__main__":
    EBSBackend.create_volume = _create_sized  # type: ignore[method-assign]
    InstanceResponse._validate_block_device_mapping = staticmethod(_give_size)  # type: ignore[method-assign]
    main()
