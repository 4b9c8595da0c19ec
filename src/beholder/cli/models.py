"""`beholder models`: list, show, test, import and remove models."""

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from beholder.cli.options import read_settings, setting_options
from beholder.config.models import models_folder
from beholder.errors import ConfigError
from beholder.model.port import ModelSpec
from beholder.model.registry import ModelRegistry

__all__ = ["models"]


@click.group()
def models() -> None:
    """List, show, test, import and remove models.

    A model is a folder with model.onnx, model.toml and labels.txt. `beholder up --model NAME` serves one by
    its name, or any folder by its path.
    """


@models.command("list")
@setting_options("data_dir")
def list_models(**flags: Any) -> None:
    """List the built-in model and the imported ones."""
    settings = read_settings(flags).settings
    for entry in ModelRegistry(models_folder(settings)).list_models():
        where = "built in" if entry.is_builtin else str(entry.folder)
        if entry.spec is None:
            click.echo(f"{entry.name:<24} cannot be used: {'; '.join(entry.problems)}")
        else:
            version, classes = entry.spec.version, len(entry.spec.labels)
            click.echo(
                f"{entry.name:<24} {version:<10} {classes:>6} classes  {entry.spec.licence:<14} {where}"
            )


@models.command()
@click.argument("name")
@setting_options("data_dir")
def show(name: str, **flags: Any) -> None:
    """Show the facts of the model NAME (a name, or the path of a folder)."""
    settings = read_settings(flags).settings
    click.echo(json.dumps(_facts(ModelRegistry(models_folder(settings)).find(name)), indent=2))


@models.command()
@click.argument("name")
@click.argument("images", type=click.Path(path_type=Path), nargs=-1)
@setting_options("precision", "data_dir")
def test(name: str, images: tuple[Path, ...], **flags: Any) -> None:
    """Load the model NAME (a name, or the path of a folder), time it, and recognise IMAGES with it."""
    from beholder.model.checking import check_model  # noqa: PLC0415 -- slow imports, only here
    from beholder.model.prepare import prepare  # noqa: PLC0415
    from beholder.wiring.classifiers import load_classifier  # noqa: PLC0415

    settings = read_settings(flags).settings
    report = check_model(
        ModelRegistry(models_folder(settings)).find(name),
        images,
        load=partial(load_classifier, settings=settings),
        prepare=partial(prepare, limits=settings.limits.image),
    )
    click.echo(f"{report.spec.name} {report.spec.version}: {report.classes} classes, {report.precision}")
    click.echo(f"loaded in {report.load_s:.2f} s, {report.image_ms:.1f} ms an image on one thread")
    for image, labels in report.answers:
        found = ", ".join(f"{label.name} {label.confidence:.1%}" for label in labels)
        click.echo(f"  {image}: {found}")
    for image, error in report.failures:
        click.echo(f"{image}: {error.message}", err=True)
    if report.failures:
        sys.exit(1)


@models.command()
@click.argument("name")
@setting_options("data_dir")
def remove(name: str, **flags: Any) -> None:
    """Remove the imported model NAME with its folder; a running service serves it until it ends."""
    settings = read_settings(flags).settings
    folder = ModelRegistry(models_folder(settings)).remove(name)
    click.echo(f"removed {folder}")


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The model's name in requests and answers.")
@click.option("--labels", type=click.Path(path_type=Path), help="One class name per line; needed for ONNX.")
@click.option("--version", default="1", show_default=True, help="Echoed in every answer.")
@click.option("--licence", default="", help="SPDX identifier of the weights' licence.")
@click.option("--source", default="", help="Where the weights come from; the file's name by default.")
@click.option(
    "--preprocessing",
    type=click.Choice(["as-is", "torchvision", "centre-crop"]),
    help="as-is: pixels / 255 at the image's own size; torchvision: crop to 224, ImageNet's mean and "
    "deviation; centre-crop: crop to --size, then (pixel - mean) / scale.  "
    "[default: as-is for .pth, torchvision for ONNX, raw pixels for ONNX that takes uint8]",
)
@click.option(
    "--size",
    type=click.IntRange(1, 4096),
    help="Side of the input, in pixels.  [default: the graph's own, or 224 if it has none]",
)
@click.option("--mean", type=float, help="For centre-crop, in 0..255.  [default: 0]")
@click.option("--scale", type=float, help="For centre-crop, in 0..255.  [default: 255]")
@click.option(
    "--probabilities/--logits",
    default=None,
    help="Whether the ONNX graph ends in a softmax.  [default: found by running it]",
)
@setting_options("data_dir")
def import_model(file: Path, name: str, **given: Any) -> None:
    """Make a model folder from FILE: an ONNX graph, or a torchvision ResNet-18 checkpoint (.pth).

    The new model is loaded and run before it is kept. A checkpoint needs `pip install torch onnx`.
    """
    from beholder.model.importing import Description, import_onnx, import_resnet18  # noqa: PLC0415
    from beholder.wiring.classifiers import load_classifier  # noqa: PLC0415

    settings = read_settings({"data_dir": given["data_dir"]}).settings
    destination = models_folder(settings) / name
    load = partial(load_classifier, settings=settings)
    _check_options(file, given)
    if file.suffix.lower() == ".onnx":
        if given["labels"] is None:
            raise ConfigError(
                f"{file} does not name its classes; give a file with one name per line by --labels"
            )
        description = Description(
            name=name,
            version=given["version"],
            licence=given["licence"] or "unknown",
            source=given["source"] or file.name,
            outputs_probabilities=given["probabilities"],
            preprocessing=_preprocessing(given["preprocessing"], given),
            size=given["size"],
        )
        spec = import_onnx(file, given["labels"], destination, description, load=load)
    elif file.suffix.lower() in (".pth", ".pt"):
        spec = import_resnet18(
            file,
            destination,
            load=load,
            labels=given["labels"],
            name=name,
            version=given["version"],
            licence=given["licence"] or "BSD-3-Clause",
            preprocessing=_preprocessing(given["preprocessing"] or "as-is", given),
        )
    else:
        raise ConfigError(f"{file} is neither .onnx nor .pth; these two can be imported")
    click.echo(f"{spec.name}: {len(spec.labels)} classes, in {destination}")
    click.echo(_taken_as(spec))
    folder = f" --data-dir {settings.deployment.data_dir}" if given["data_dir"] else ""
    click.echo(f"serve it with: beholder up --model {spec.name}{folder}")


def _check_options(file: Path, given: dict[str, Any]) -> None:
    """Refuse options that would have no effect."""
    kind = given["preprocessing"]
    unused = [key for key in ("mean", "scale") if kind != "centre-crop" and given[key] is not None]
    problems = [f"--{key} is for --preprocessing centre-crop; add that, or leave it out" for key in unused]
    if kind == "as-is" and given["size"] is not None:
        problems.append("--size is not for --preprocessing as-is, which leaves an image at its size")
    if file.suffix.lower() in (".pth", ".pt"):
        problems += [
            f"--{key} is for ONNX files; leave it out"
            for key, value in (
                ("size", given["size"]),
                ("source", given["source"] or None),
                ("logits" if given["probabilities"] is False else "probabilities", given["probabilities"]),
            )
            if value is not None
        ]
    if problems:
        raise ConfigError(problems)


def _taken_as(spec: ModelSpec) -> str:
    """Return what was found or assumed, so that the user sees a wrong assumption before serving the model."""
    taken, values = spec.preprocessing, "probabilities" if spec.outputs_probabilities else "logits"
    size = f"crop to {taken.size} x {taken.size}" if taken.size else "as is"
    least = "" if taken.size else f" from {taken.width_min} x {taken.height_min} pixels"
    return (
        f"images {size}{least}, mean {list(taken.mean)}, scale {list(taken.scale)}; the graph gives {values}"
    )


def _preprocessing(kind: str | None, given: dict[str, Any]) -> Any:
    from beholder.model.importing import TORCHVISION  # noqa: PLC0415
    from beholder.model.preprocessing_table import AS_IS, read_preprocessing  # noqa: PLC0415

    if kind == "centre-crop":
        numbers = {key: given[key] for key in ("mean", "scale") if given[key] is not None}
        problems: list[str] = []
        found = read_preprocessing({"kind": kind, **numbers}, problems)
        if found is None:
            raise ConfigError([problem.removeprefix("[preprocessing] ") for problem in problems])
        return found
    return {None: None, "as-is": AS_IS, "torchvision": TORCHVISION}[kind]


def _facts(spec: ModelSpec) -> dict[str, Any]:
    facts = asdict(spec)
    labels = facts.pop("labels")
    return facts | {"onnx_path": str(spec.onnx_path), "classes": len(labels), "labels": [*labels[:5], "..."]}
