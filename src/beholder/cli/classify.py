"""`beholder classify`: recognise image files in this process, or by a service."""

import csv
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.options import read_settings, setting_options

if TYPE_CHECKING:  # it imports numpy, which `beholder --help` does not need
    from beholder.cli.recognise import FileResult

__all__ = ["classify"]

_PROGRESS_FROM = 20
_FILE_WIDTH = 40


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
    url: str | None,
    key: str,
    **flags: Any,
) -> None:
    """Recognise images: files, folders, glob patterns, or - for standard input.

    Prints a table on a terminal and JSON lines elsewhere. If images fail, standard error names them and the
    exit status is 1.

    \b
    beholder classify photo.jpg
    beholder classify ~/Pictures --csv > labels.csv
    cat photo.jpg | beholder classify -
    beholder classify photo.jpg --url http://127.0.0.1:8080
    """  # noqa: D301 -- click needs the character \b itself, not its escape
    from beholder.cli.recognise import find_images  # noqa: PLC0415

    files = find_images(paths)
    if url is None:
        findings = _here(files, flags, top_k=top_k, min_confidence=min_confidence)
    else:
        findings = _remotely(files, url, key, flags, top_k=top_k, min_confidence=min_confidence)
    failed = _print_all(_with_progress(findings, len(files)), _form(as_csv=as_csv, as_json=as_json))
    if failed:
        click.echo(f"{len(failed)} of {len(files)} images failed:", err=True)
        for one in failed:
            click.echo(f"  {one.file}: {one.error.message if one.error else ''}", err=True)
        sys.exit(1)


def _here(
    files: list[str], flags: dict[str, Any], *, top_k: int, min_confidence: float
) -> Iterator["FileResult"]:
    from beholder.cli.recognise import recognise  # noqa: PLC0415
    from beholder.config.models import served_specs  # noqa: PLC0415
    from beholder.model.prepare import prepare  # noqa: PLC0415
    from beholder.wiring.classifiers import load_classifier  # noqa: PLC0415

    settings = read_settings(flags).settings
    threads = os.cpu_count() or 1
    classifier = load_classifier(served_specs(settings)[0], settings, threads=threads)
    classifier.warm_up()
    return recognise(
        files,
        classifier,
        partial(prepare, limits=settings.limits.image),
        top_k=top_k,
        min_confidence=min_confidence,
        threads=threads,
    )


def _remotely(
    files: list[str], url: str, key: str, flags: dict[str, Any], *, top_k: int, min_confidence: float
) -> Iterator["FileResult"]:
    from beholder.cli.remote import RemoteService, recognise_remotely  # noqa: PLC0415

    if flags["precision"] or flags["data_dir"]:
        raise click.UsageError("--precision and --data-dir are the service's own with --url")
    options: dict[str, object] = {"top_k": top_k, "min_confidence": min_confidence}
    if flags["model"]:
        options["model"] = flags["model"][0]
    service = RemoteService(url, key, threading.Event().wait)
    return recognise_remotely(files, service, options)


def _form(*, as_csv: bool, as_json: bool) -> Callable[["FileResult"], str]:
    if as_csv:
        click.echo("file,rank,name,index,confidence,error")
        return _csv_rows
    if as_json or not sys.stdout.isatty():
        return _json_line
    return _table_rows


def _print_all(findings: Iterable["FileResult"], form: Callable[["FileResult"], str]) -> list["FileResult"]:
    failed = []
    for finding in findings:
        click.echo(form(finding))
        if finding.error is not None:
            failed.append(finding)
    return failed


def _with_progress(findings: Iterator["FileResult"], count: int) -> Iterator["FileResult"]:
    """Show a progress bar on a terminal if there are many files, below the table if that is shown, too."""
    if count < _PROGRESS_FROM or not sys.stderr.isatty():
        yield from findings
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    is_table_shown = sys.stdout.isatty()
    with Progress(console=Console(stderr=not is_table_shown), redirect_stdout=is_table_shown) as progress:
        yield from progress.track(findings, total=count, description="recognising")


def _json_line(finding: "FileResult") -> str:
    document: dict[str, Any] = {"file": finding.file}
    if finding.error is not None:
        document["error"] = {"code": finding.error.code, "detail": finding.error.message}
    else:
        document["labels"] = [
            {"name": one.name, "index": one.index, "confidence": one.confidence} for one in finding.labels
        ]
    return json.dumps(document, ensure_ascii=False)


def _csv_rows(finding: "FileResult") -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    if finding.error is not None:
        rows.writerow([finding.file, "", "", "", "", finding.error.code])
    for rank, one in enumerate(finding.labels, 1):
        rows.writerow([finding.file, rank, one.name, one.index, one.confidence, ""])
    return text.getvalue().rstrip("\n")


def _table_rows(finding: "FileResult") -> str:
    if finding.error is not None:
        return f"{finding.file:<{_FILE_WIDTH}} failed  {finding.error.message}"
    names = [finding.file, *[""] * (len(finding.labels) - 1)]
    rows = zip(names, finding.labels, strict=False)
    return "\n".join(f"{name:<{_FILE_WIDTH}} {one.confidence:>6.1%}  {one.name}" for name, one in rows)
