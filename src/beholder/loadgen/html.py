"""The report as one self-contained HTML page that follows the reader's theme."""

from collections.abc import Iterable
from dataclasses import asdict
from html import escape

from beholder.drawing.page import card, page, table, tile
from beholder.loadgen.charts import latency_chart, spread_chart, throughput_chart
from beholder.loadgen.expect import Accuracy
from beholder.loadgen.plan import LoadPlan
from beholder.loadgen.report import LoadReport
from beholder.loadgen.text import files_phrase, jobs_phrase

__all__ = ["html_report"]

_SLOWEST_SHOWN = 10
_TILES_IN_A_ROW = 6


def html_report(
    report: LoadReport, plan: LoadPlan, *, accuracy: Accuracy | None = None, made_at: str = ""
) -> str:
    """Return the page.

    Args:
        report: The figures to show.
        plan: What was sent.
        accuracy: How many answers were right; None if unknown.
        made_at: When the run was, as text for the reader.
    """
    body = "".join(
        (
            f"<header><h1>Load report</h1><p>{_lead(report, plan, made_at)}</p></header>",
            _summary(report, accuracy),
            _charts(report),
            f'<div class="pair">{_percentiles(report)}{_outcomes(report)}</div>',
            f'<div class="pair">{_slowest(report)}{_settings(plan)}</div>',
        )
    )
    return page(f"Load report: {plan.url}", body)


def _lead(report: LoadReport, plan: LoadPlan, made_at: str) -> str:
    when = f", {escape(made_at)}" if made_at else ""
    stopped = ", stopped early" if report.is_interrupted else ""
    return f"{report.requests:,} requests to {escape(plan.url)} in {report.duration_s:.2f} s{when}{stopped}"


def _summary(report: LoadReport, accuracy: Accuracy | None) -> str:
    tiles = list(_tiles(report, accuracy))
    columns = len(tiles) if len(tiles) <= _TILES_IN_A_ROW else (len(tiles) + 1) // 2
    style = f'style="--columns:{columns}"'
    return f'<section class="tiles" aria-label="Summary" {style}>{"".join(tiles)}</section>'


def _tiles(report: LoadReport, accuracy: Accuracy | None) -> Iterable[str]:
    failed = report.requests - report.answered
    codes = ", ".join(report.errors) or "every request was answered"
    spread = report.latency_s
    yield tile("answered", f"{report.answered:,}", f"of {report.requests:,} requests")
    yield tile("errors", f"{failed:,}", codes, is_bad=failed > 0)
    yield tile("throughput", f"{report.throughput_per_s:,.1f}", "answers per second")
    yield tile("median latency", _ms(spread.p50), f"mean {_ms(spread.mean)}")
    yield tile("99th percentile", _ms(spread.p99), f"max {_ms(spread.max)}")
    yield tile("files", f"{report.unique_files:,}", files_phrase(report))
    if report.unique_jobs is not None:
        yield tile("jobs", f"{report.unique_jobs:,}", jobs_phrase(report), is_bad=bool(report.duplicate_jobs))
    if accuracy is not None and accuracy.known:
        share = accuracy.top_1 / accuracy.known
        yield tile("right at first", f"{share:.1%}", f"{accuracy.top_5} of {accuracy.known} within five")


def _charts(report: LoadReport) -> str:
    good = '<span class="key good">● answers</span>'
    both = f'{good} &nbsp; <span class="key bad">◆ errors</span>' if report.errors else good
    share = '<span class="key line-key">— share that took no longer</span>'
    wide = card("Latency over time", latency_chart(report.answers), both)
    left = card("Throughput", throughput_chart(report.answers), both)
    right = card("Spread of latencies", spread_chart(report.answers), f"{good} &nbsp; {share}")
    return f'<div class="wide">{wide}</div><div class="pair">{left}{right}</div>'


def _percentiles(report: LoadReport) -> str:
    rows = [(name, f"{value * 1000:,.1f}") for name, value in asdict(report.latency_s).items()]
    hint = "Nearest rank: each percentile is a latency that occurred. Counted from when a request was due."
    return card("Latency", table(("Latency of answered requests", "ms"), rows), hint)


def _outcomes(report: LoadReport) -> str:
    rows = [
        (f"HTTP {status}" if status else "no response", f"{number:,}")
        for status, number in report.statuses.items()
    ]
    rows += [(f"error {code}", f"{number:,}") for code, number in report.errors.items()]
    rows += [("answered 202 first, then polled", f"{report.accepted:,}")] if report.accepted else []
    rows += [("sent again after a 503", f"{report.retry_count:,}")] if report.retry_count else []
    return card("Outcomes", table(("Outcome", "requests"), rows))


def _slowest(report: LoadReport) -> str:
    slowest = sorted(report.answers, key=lambda answer: answer.latency_s, reverse=True)[:_SLOWEST_SHOWN]
    rows = [
        (a.file, a.response.label or a.response.error or "", f"{a.latency_s * 1000:,.1f}") for a in slowest
    ]
    return card("Slowest requests", table(("File", "Outcome", "ms"), rows))


def _settings(plan: LoadPlan) -> str:
    if plan.rate_per_s is None:
        loop = [("loop", "closed"), ("concurrency", str(plan.concurrency))]
    else:
        arrival = f"{plan.rate_per_s:g} per second, {plan.arrival}, seed {plan.seed}"
        loop = [("loop", "open"), ("arrivals", arrival), ("in flight at most", str(plan.in_flight_max))]
    count = "no bound" if plan.request_count_max is None else f"{plan.request_count_max:,}"
    duration = [] if plan.duration_s is None else [("duration", f"{plan.duration_s:g} s")]
    rows = [
        *loop,
        ("requests", count),
        *duration,
        ("images", f"{len(plan.images):,}"),
        ("sent as", "raw bytes" if plan.is_v1 else "multipart field myfile"),
        ("timeout", f"{plan.timeout_s:g} s"),
        ("sent again after a 503", "yes" if plan.is_503_retried else "no"),
    ]
    return card("Settings", table(("Setting", "value"), rows))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"
