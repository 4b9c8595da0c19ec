"""moto's server, mended where it refuses what EC2 takes."""

import functools
from typing import Any

from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.elastic_block_store import EBSBackend
from moto.ec2.responses.instances import InstanceResponse
from moto.server import main

# A disk of an image has the size of its snapshot unless its mapping says another; moto asks for one.
# Source: EC2 API reference, EbsBlockDevice, 2026-11.
_IMAGE_GIB = 8
_create_volume = EBSBackend.create_volume
_create_image = AmiBackend.create_image
_validate_device = InstanceResponse._validate_block_device_mapping


@functools.wraps(_create_volume)
def _create_sized(self: EBSBackend, size: int | None, *positional: Any, **named: Any) -> Any:
    snapshot = named.get("snapshot_id")
    return _create_volume(self, size or (None if snapshot else _IMAGE_GIB), *positional, **named)  # type: ignore[arg-type]


def _create_tagged(
    self: AmiBackend, instance: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
) -> Ami:
    """Make an image; CreateImage can give tags to its snapshots, at which moto fails."""
    kinds = ("image", "snapshot")
    of = {kind: [one for one in tag_specifications if one["ResourceType"] == kind] for kind in kinds}
    image = _create_image(self, instance, name, description, of["image"])
    for one in of["snapshot"]:
        image.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in one["Tags"]})
    return image


def _give_size(device: dict[str, Any]) -> None:
    if "SnapshotId" not in device.get("Ebs", {"SnapshotId": ""}):
        device["Ebs"].setdefault("VolumeSize", _IMAGE_GIB)
    _validate_device(device)


if __name__ == "__main__":
    AmiBackend.create_image = _create_tagged  # type: ignore[method-assign]
    EBSBackend.create_volume = _create_sized  # type: ignore[method-assign]
    InstanceResponse._validate_block_device_mapping = staticmethod(_give_size)  # type: ignore[method-assign]
    main()
