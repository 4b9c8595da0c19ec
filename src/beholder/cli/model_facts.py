"""What the commands on models say of them."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from beholder.model.fetching import BucketModel
from beholder.model.port import ModelSpec
from beholder.model.registry import ModelEntry

__all__ = ["facts_of", "tell_bucket", "tell_models"]


def tell_models(entries: Sequence[ModelEntry], *, as_json: bool) -> None:
    """Print a line for each model of this machine."""
    for entry in entries:
        if as_json:
            spec = {} if entry.spec is None else facts_of(entry.spec)
            click.echo(json.dumps({"name": entry.name, "problems": list(entry.problems), **spec}))
            continue
        where = "built in" if entry.is_builtin else str(entry.folder)
        if entry.spec is None:
            click.echo(f"{entry.name:<24} cannot be used: {'; '.join(entry.problems)}")
        else:
            version, classes = entry.spec.version, len(entry.spec.labels)
            click.echo(
                f"{entry.name:<24} {version:<10} {classes:>6} classes  {entry.spec.licence:<14} {where}"
            )


def tell_bucket(found: Sequence[BucketModel], *, as_json: bool) -> None:
    """Print a line for each model of a bucket, of which only `model.toml` was read."""
    for one in found:
        facts = {key: str(one.table.get(key, "")) for key in ("name", "version", "licence")}
        if as_json:
            problems = [one.problem] if one.problem else []
            click.echo(json.dumps({**facts, "address": one.address, "problems": problems}))
        elif one.problem:
            click.echo(f"{one.address} cannot be used: {one.problem}")
        else:
            click.echo(f"{facts['name']:<24} {facts['version']:<10} {facts['licence']:<14} {one.address}")


def facts_of(spec: ModelSpec) -> dict[str, Any]:
    """Return what is known of a model, with its first labels and what its import measured."""
    from beholder.model.verification import read_report  # noqa: PLC0415 -- imports numpy

    facts = asdict(spec) | {"is_multi_label": spec.is_multi_label}
    labels = facts.pop("labels")
    facts["report"] = read_report(spec.onnx_path.parent)
    return facts | {"onnx_path": str(spec.onnx_path), "classes": len(labels), "labels": [*labels[:5], "..."]}
