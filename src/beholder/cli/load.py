"""`beholder load`: the workload generator, with the options of the class project's generator and more.

Modules that need aiohttp or rich are imported when the command runs, so that `beholder --help` is fast.
"""

import json
import os
import sys
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.open_files import allow_files
from beholder.errors import ConfigError

if TYPE_CHECKING:
    from beholder.loadgen.expect import Accuracy
    from beholder.loadgen.plan import LoadPlan
    from beholder.loadgen.progress import SilentProgress
    from beholder.loadgen.report import LoadReport

__all__ = ["load"]

_HOST = "http://127.0.0.1:8080"
_EACH_COUNT_MAX = 20


class _CannotStart(click.ClickException):
    """The run cannot begin; the message says what to do."""

    exit_code = 2


_count = partial(click.option, type=click.IntRange(min=1), show_default=True)
_number = partial(click.option, type=click.FloatRange(min=0, min_open=True), show_default=True)
_file = partial(click.option, type=click.Path(path_type=Path))


@click.command()
@_count(
    "--num_request",
    "--num-request",
    "request_count",
    help="Requests to send, the images in turn; as many as there are images unless --duration is given.",
)
@click.option(
    "--url", help=f"Where to send them. [default: {_HOST}/upload, or {_HOST}/v1/classify with --api v1]"
)
@_file("--image_folder", "--image-folder", "folder", required=True, help="Folder with the images.")
@click.option(
    "--api",
    type=click.Choice(["upload", "v1"]),
    help="upload: multipart as the classic clients send it; v1: the raw bytes. [default: by the URL]",
)
@_count(
    "--concurrency",
    "-c",
    default=16,
    help="Clients, each of which sends its next request when its last one was answered.",
)
@_number(
    "--rate",
    "rate_per_s",
    help="Requests per second, whether or not the service keeps up; latency counts from when each was due.",
)
@click.option(
    "--arrival",
    default="poisson",
    show_default=True,
    type=click.Choice(["constant", "poisson"]),
    help="With --rate: evenly spaced, or at random as many independent clients would.",
)
@_count(
    "--in-flight-max",
    default=512,
    help="With --rate: how many may be under way; further ones wait, and the wait counts.",
)
@_number("--duration", "duration_s", help="Send for so many seconds.")
@_number(
    "--timeout",
    "timeout_s",
    default=120.0,
    help="Seconds that one request may take, polling and retries included.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the random arrivals.")
@click.option(
    "--retry-503",
    "is_503_retried",
    is_flag=True,
    help="Send again after a 503, when Retry-After says; counted in the report.",
)
@click.option(
    "--key",
    default="",
    envvar="BEHOLDER_API_KEY",
    show_envvar=True,
    show_default=False,
    help="API key; better in the environment, because every user of the machine sees command lines.",
)
@_file("--expect", help="CSV with the columns file,index,name: report how many answers are right (v1 only).")
@_file("--report", "page", help="Write an HTML report to this file.")
@click.option("--json", "is_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--each", "is_each", is_flag=True, help="Print a line for each photo.")
@click.option("--quiet", "-q", is_flag=True, help="Show nothing while it runs.")
@click.pass_context
def load(
    ctx: click.Context,
    /,
    *,
    expect: Path | None,
    page: Path | None,
    is_json: bool,
    is_each: bool,
    quiet: bool,
    **choices: Any,
) -> None:
    """Send images to a running service and report throughput, latency and errors.

    \b
    beholder load --num_request 100 --image_folder imagenet-100/ --concurrency 100    all at once
    beholder load --image_folder imagenet-100/ --rate 50 --duration 60 --report out.html

    The exit status is 0 if every request was answered with a label, 2 if the run could not start, and 1
    otherwise, also if the HTML report could not be written after the run.
    """  # noqa: D301 - click needs the character \b itself, not its escape
    from beholder.loadgen.engine import probe, run_load  # noqa: PLC0415
    from beholder.loadgen.expect import accuracy_of, read_expected  # noqa: PLC0415
    from beholder.loadgen.html import html_report  # noqa: PLC0415
    from beholder.loadgen.text import summary_text  # noqa: PLC0415

    try:
        plan = _plan(**choices)
        allow_files(plan.concurrency)
        if expect is not None and not plan.is_v1:
            raise ConfigError("--expect needs the class numbers that only v1 returns; add --api v1")  # noqa: TRY301
        expected = read_expected(expect) if expect is not None else None
        if page is not None:
            _check_writable(page)
        probe(plan.url)
        with _view(plan, is_each=is_each, is_quiet=quiet) as view:
            report = run_load(plan, view.show)
    except ConfigError as exc:
        raise _CannotStart(exc.message) from exc
    accuracy = accuracy_of(report.answers, expected) if expected is not None else None
    # The summary first: a full disk may fail the page.
    click.echo(json.dumps(_document(report, accuracy)) if is_json else summary_text(report, accuracy))
    if page is not None:
        made_at = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        _write(page, html_report(report, plan, accuracy=accuracy, made_at=made_at))
    ctx.exit(0 if report.is_clean else 1)


def _plan(*, folder: Path, url: str | None, api: str | None, arrival: str, **rest: Any) -> "LoadPlan":
    from beholder.loadgen.plan import Api, Arrival, LoadPlan, images_in  # noqa: PLC0415

    path = "/v1/classify" if api == "v1" else "/upload"
    return LoadPlan(
        url=url or f"{_HOST}{path}",
        images=images_in(folder),
        api=None if api is None else Api(api),
        arrival=Arrival(arrival),
        **rest,
    )


def _view(plan: "LoadPlan", *, is_each: bool, is_quiet: bool) -> "SilentProgress":
    from rich.console import Console  # noqa: PLC0415

    from beholder.loadgen.progress import LiveProgress, PlainProgress, SilentProgress  # noqa: PLC0415

    total = plan.request_count_max
    if is_quiet:
        return SilentProgress()
    if sys.stderr.isatty():
        is_few = total is not None and total <= _EACH_COUNT_MAX
        return LiveProgress(Console(stderr=True), total=total, is_each=is_each or is_few)
    return PlainProgress(lambda line: click.echo(line, err=True), total=total, is_each=is_each)


def _document(report: "LoadReport", accuracy: "Accuracy | None") -> dict[str, Any]:
    return report.to_dict() | ({} if accuracy is None else {"accuracy": asdict(accuracy)})


def _check_writable(path: Path) -> None:
    """Try to open the report's file, and leave no trace, so that a wrong path does not waste a whole run."""
    is_new = not os.path.lexists(path)
    try:
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as exc:
        raise ConfigError(
            f"the report cannot be written to {path} ({exc.strerror}); give --report a file in a folder that "
            "exists and that you may write to"
        ) from exc


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise click.ClickException(f"the report cannot be written to {path}: {exc.strerror}") from exc
