"""`beholder classify`: recognise image files in this process, or by a service."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.options import read_settings, setting_options
from beholder.cli.progress import with_progress
from beholder.cli.results_file import CSV_HEAD, csv_rows, json_line, resumed
from beholder.errors import ConfigError
from beholder.words import counted

if TYPE_CHECKING:  # it imports httpx2, which `beholder --help` does not need
    from beholder.client import Client, FileResult
    from beholder.client.steps import Parameters

__all__ = ["classify"]

_PROGRESS_FROM = 20
_FILE_WIDTH = 40
_NAMED_MAX = 20


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--top-k", type=click.IntRange(1, 1000), default=5, show_default=True, help="Labels per image.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Leave out labels below this probability.",
)
@click.option("--csv", "as_csv", is_flag=True, help="CSV: file, rank, name, index, confidence, error.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, also on a terminal.")
@click.option(
    "--resume",
    "results",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the results to FILE, as JSON lines (.jsonl) or CSV (.csv), and leave out the images that it "
    "has results of.",
)
@click.option("--url", help="Recognise them by the service at this address instead of in this process.")
@click.option(
    "--key",
    default="",
    envvar="BEHOLDER_API_KEY",
    show_envvar=True,
    help="With --url: API key; better in the environment, because every user of the machine sees command "
    "lines.",
)
@setting_options("model", "precision", "data_dir")
def classify(
    paths: tuple[str, ...],
    *,
    top_k: int,
    min_confidence: float,
    as_csv: bool,
    as_json: bool,
    results: Path | None,
    url: str | None,
    key: str,
    **flags: Any,
) -> None:
    """Recognise images: files, folders, glob patterns, or - for standard input.

    Prints a table on a terminal and JSON lines elsewhere. If images fail, standard error names the first of
    them, and the exit status is 1. A folder of any size takes all cores and the same memory; with --resume
    the same command goes on where it was stopped.

    \b
    beholder classify photo.jpg
    beholder classify ~/Pictures --csv > labels.csv
    beholder classify /mnt/photos --resume labels.csv
    cat photo.jpg | beholder classify -
    beholder classify photo.jpg --url http://127.0.0.1:8080
    """  # noqa: D301 -- click needs the character \b itself, not its escape
    from beholder.client.images import find_images  # noqa: PLC0415

    if results is not None and (as_csv or as_json):
        raise click.UsageError("with --resume the file's suffix says what is written")
    files = find_images(paths)
    failed_before = 0
    recognised = _here if url is None else partial(_remotely, url=url, key=key)
    with contextlib.ExitStack() as stack:
        if results is None:
            write = _printer(_form(as_csv=as_csv, as_json=as_json))
        else:
            asked = {"--top-k": top_k, "--min-confidence": min_confidence} | _model_asked(flags, url)
            done, write = stack.enter_context(resumed(results, asked))
            failed_before = sum(done.get(file, False) for file in files)
            left = [file for file in files if file not in done]
            if not left:
                click.echo(f"{results} has a result of {_of_each(len(files))}", err=True)
            files = left
            done.clear()
        failed_now = 0
        if files:
            found = recognised(files, flags, top_k=top_k, min_confidence=min_confidence)
            try:
                failed_now = _write_all(_with_progress(found, len(files)), write, len(files))
            except KeyboardInterrupt:
                click.echo(f"\n{_how_to_go_on(results)}", err=True)
                raise
    if failed_before:
        click.echo(
            f"{counted(failed_before, 'image')} failed in an earlier run, with the errors in {results}",
            err=True,
        )
    if failed_now or failed_before:
        sys.exit(1)


def _model_asked(flags: dict[str, Any], url: str | None) -> dict[str, Any]:
    """Return the options by which a run chooses the model, and what they mean in this process."""
    if url is not None:
        return {"--url": url, "--model": flags["model"][0] if flags["model"] else None}
    from beholder.wiring.models import served_specs  # noqa: PLC0415

    settings = read_settings(flags).settings
    spec = served_specs(settings)[0]
    return {"--url": None, "--model": f"{spec.name}@{spec.version}", "--precision": settings.worker.precision}


def _how_to_go_on(results: Path | None) -> str:
    if results is None:
        return "stopped; with --resume FILE a run that is stopped goes on where it was"
    return f"stopped; {results} has the results so far, and the same command goes on from there"


def _write_all(found: Iterator["FileResult"], write: Callable[["FileResult"], None], count: int) -> int:
    """Write all results; name the first of the images that failed, and return how many these are."""
    failed: list[FileResult] = []
    failed_count = 0
    for result in found:
        write(result)
        if result.error is not None:
            failed_count += 1
            failed = [*failed, result][:_NAMED_MAX]
    if failed_count:
        click.echo(f"{failed_count} of {counted(count, 'image')} failed:", err=True)
        for one in failed:
            click.echo(f"  {one.file}: {one.error.message if one.error else ''}", err=True)
        if failed_count > len(failed):
            click.echo(f"  and {failed_count - len(failed)} more, with their errors in the results", err=True)
    return failed_count


def _of_each(count: int) -> str:
    return "the image" if count == 1 else f"each of the {count} images"


def _printer(form: Callable[["FileResult"], str]) -> Callable[["FileResult"], None]:
    return lambda result: click.echo(form(result))


def _here(
    files: list[str], flags: dict[str, Any], *, top_k: int, min_confidence: float
) -> Iterator["FileResult"]:
    from beholder.cli.recognise import recognise  # noqa: PLC0415
    from beholder.config.settings import cores  # noqa: PLC0415
    from beholder.model.prepare import prepare  # noqa: PLC0415
    from beholder.wiring.classifiers import load_classifier, load_copies  # noqa: PLC0415
    from beholder.wiring.models import served_specs  # noqa: PLC0415

    settings = read_settings(flags).settings
    copies = min(cores(), len(files))
    spec = served_specs(settings)[0]
    if copies > 1:
        classifier = load_copies(spec, settings, copies)
    else:
        classifier = load_classifier(spec, settings, threads=cores())
    classifier.warm_up()
    return recognise(
        files,
        classifier,
        partial(prepare, limits=settings.limits.image),
        top_k=top_k,
        min_confidence=min_confidence,
        copies=copies,
    )


def _remotely(
    files: list[str], flags: dict[str, Any], *, url: str, key: str, top_k: int, min_confidence: float
) -> Iterator["FileResult"]:
    from beholder.client import Client  # noqa: PLC0415
    from beholder.client.steps import Parameters  # noqa: PLC0415

    if flags["precision"] or flags["data_dir"]:
        raise click.UsageError("--precision and --data-dir are the service's own with --url")
    parameters = Parameters(top_k=top_k, min_confidence=min_confidence)
    if flags["model"]:
        parameters["model"] = flags["model"][0]
    return _answers(Client(url, api_key=key), files, parameters)


def _answers(client: "Client", files: list[str], parameters: "Parameters") -> Iterator["FileResult"]:
    from beholder.client import Unauthorized  # noqa: PLC0415
    from beholder.client.images import STDIN  # noqa: PLC0415

    images = (sys.stdin.buffer if file == STDIN else file for file in files)
    with client:
        results = client.stream(images, is_ordered=True, **parameters)
        try:
            for file, result in zip(files, results, strict=True):
                yield replace(result, file=file)
        except Unauthorized as exc:
            raise ConfigError(f"{exc.message} (--key or BEHOLDER_API_KEY)") from exc


def _form(*, as_csv: bool, as_json: bool) -> Callable[["FileResult"], str]:
    if as_csv:
        click.echo(CSV_HEAD)
        return csv_rows
    if as_json or not sys.stdout.isatty():
        return json_line
    return _table_rows


def _with_progress(findings: Iterator["FileResult"], count: int) -> Iterator["FileResult"]:
    return findings if count < _PROGRESS_FROM else with_progress(findings, count, "recognising")


def _table_rows(finding: "FileResult") -> str:
    if finding.error is not None:
        return f"{finding.file:<{_FILE_WIDTH}} failed  {finding.error.message}"
    names = [finding.file, *[""] * (len(finding.labels) - 1)]
    rows = zip(names, finding.labels, strict=False)
    return "\n".join(f"{name:<{_FILE_WIDTH}} {one.confidence:>6.1%}  {one.name}" for name, one in rows)
