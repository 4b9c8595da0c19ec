"""The report as one HTML page that needs nothing from elsewhere and follows the reader's theme."""

from collections.abc import Iterable, Sequence
from html import escape

from beholder.loadgen.charts import latency_chart, spread_chart, throughput_chart
from beholder.loadgen.expect import Accuracy
from beholder.loadgen.plan import LoadPlan
from beholder.loadgen.report import LoadReport
from beholder.loadgen.text import files_phrase, jobs_phrase

__all__ = ["html_report"]

_SLOWEST_SHOWN = 10
_TILES_IN_A_ROW = 6

_STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#16202c;--soft:#5a6675;--edge:#dfe4ea;
--good:#2563c9;--bad:#c62828;--line:#8a5a00}
@media (prefers-color-scheme:dark){:root{--page:#10151b;--card:#19212a;--ink:#e8edf3;
--soft:#9aa7b6;--edge:#2c3742;--good:#6aa6ff;--bad:#ff7070;--line:#f0b429}}
*{box-sizing:border-box}
body{margin:0;padding:28px 20px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto}
h1{font-size:24px;margin:0;line-height:1.25}h2{font-size:15px;margin:0 0 10px}
p{margin:4px 0 20px;color:var(--soft);overflow-wrap:anywhere}
p.hint{margin:-8px 0 8px;font-size:13px}
.tiles{display:grid;grid-template-columns:repeat(var(--columns),1fr);gap:12px;margin-bottom:12px}
@media (max-width:900px){.tiles{grid-template-columns:1fr 1fr}}
.card{overflow-x:auto;background:var(--card);
border:1px solid var(--edge);border-radius:10px;padding:16px 18px}
.tile b{display:block;font-size:25px;line-height:1.3;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px;display:block}
.tile.bad b{color:var(--bad)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr));gap:12px;margin:12px 0}
svg{display:block;width:100%;height:auto}.wide svg{min-width:680px}
.grid{stroke:var(--edge);stroke-width:1}
.tick,.name{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}
.point{fill:var(--good);fill-opacity:.55}.point:hover{fill-opacity:1;stroke:var(--ink)}
.bar{fill:var(--good);fill-opacity:.8}.bar:hover{fill-opacity:1}
.point.error,.bar.error{fill:var(--bad);fill-opacity:.9}
.line{fill:none;stroke:var(--line);stroke-width:2;pointer-events:none}
.key{font-weight:600}.key.good{color:var(--good)}.key.bad{color:var(--bad)}.key.line-key{color:var(--line)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--edge);overflow-wrap:anywhere}
th{font-weight:500;color:var(--soft)}tr:last-child>*{border-bottom:0}
td.number,th.number{text-align:right;padding-right:0;white-space:nowrap}
"""


def html_report(
    report: LoadReport, plan: LoadPlan, *, accuracy: Accuracy | None = None, made_at: str = ""
) -> str:
    """Return the page.

    Args:
        report: The outcome to show.
        plan: What was sent.
        accuracy: How many answers were right, where that is known.
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
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Load report: {escape(plan.url)}</title><style>{_STYLE}</style>"
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'


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
    yield _tile("answered", f"{report.answered:,}", f"of {report.requests:,} requests")
    yield _tile("errors", f"{failed:,}", codes, is_bad=failed > 0)
    yield _tile("throughput", f"{report.throughput_per_s:,.1f}", "answers per second")
    yield _tile("median latency", _ms(spread.p50), f"mean {_ms(spread.mean)}")
    yield _tile("99th percentile", _ms(spread.p99), f"max {_ms(spread.max)}")
    yield _tile("files", f"{report.unique_files:,}", files_phrase(report))
    if report.unique_jobs is not None:
        yield _tile(
            "jobs", f"{report.unique_jobs:,}", jobs_phrase(report), is_bad=bool(report.duplicate_jobs)
        )
    if accuracy is not None and accuracy.known:
        share = accuracy.top_1 / accuracy.known
        yield _tile("right at first", f"{share:.1%}", f"{accuracy.top_5} of {accuracy.known} within five")


def _tile(name: str, figure: str, text: str, *, is_bad: bool = False) -> str:
    kind = "card tile bad" if is_bad else "card tile"
    lines = f"<span>{escape(name)}</span><b>{escape(figure)}</b><span>{escape(text)}</span>"
    return f'<div class="{kind}">{lines}</div>'


def _charts(report: LoadReport) -> str:
    good = '<span class="key good">● answers</span>'
    both = f'{good} &nbsp; <span class="key bad">◆ errors</span>' if report.errors else good
    share = '<span class="key line-key">— share that took no longer</span>'
    wide = _card("Latency over time", latency_chart(report.answers), both)
    left = _card("Throughput", throughput_chart(report.answers), both)
    right = _card("Spread of latencies", spread_chart(report.answers), f"{good} &nbsp; {share}")
    return f'<div class="wide">{wide}</div><div class="pair">{left}{right}</div>'


def _percentiles(report: LoadReport) -> str:
    spread = report.latency_s
    names = ("min", "mean", "p50", "p90", "p95", "p99", "max")
    table = _table(
        ("Latency of answered requests", "ms"), [(n, f"{getattr(spread, n) * 1000:,.1f}") for n in names]
    )
    return _card(
        "Latency",
        table,
        "Nearest rank: each is a latency that occurred. Counted from when a request was due.",
    )


def _outcomes(report: LoadReport) -> str:
    rows = [
        (f"HTTP {status}" if status else "no response", f"{number:,}")
        for status, number in report.statuses.items()
    ]
    rows += [(f"error {code}", f"{number:,}") for code, number in report.errors.items()]
    rows += [("answered 202 first, then polled", f"{report.accepted:,}")] if report.accepted else []
    rows += [("sent again after a 503", f"{report.retry_count:,}")] if report.retry_count else []
    return _card("Outcomes", _table(("Outcome", "requests"), rows))


def _slowest(report: LoadReport) -> str:
    slowest = sorted(report.answers, key=lambda answer: answer.latency_s, reverse=True)[:_SLOWEST_SHOWN]
    rows = [(a.file, a.label or a.error or "", f"{a.latency_s * 1000:,.1f}") for a in slowest]
    return _card("Slowest requests", _table(("File", "Outcome", "ms"), rows))


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
    return _card("Settings", _table(("Setting", "value"), rows))


def _card(title: str, content: str, hint: str = "") -> str:
    note = f'<p class="hint">{hint}</p>' if hint else ""
    return f'<section class="card"><h2>{title}</h2>{note}{content}</section>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = _row("th", head)
    return f"<table><thead>{top}</thead><tbody>{''.join(_row('td', row) for row in rows)}</tbody></table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    *texts, number = (escape(cell) for cell in cells)
    start = "".join(f"<{tag}>{text}</{tag}>" for text in texts)
    return f'<tr>{start}<{tag} class="number">{number}</{tag}></tr>'


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"
