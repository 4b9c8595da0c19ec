"""Figures, texts and the HTML page of a run."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from beholder.errors import ConfigError
from beholder.loadgen.answer import Answer, Response
from beholder.loadgen.expect import Accuracy, accuracy_of, read_expected
from beholder.loadgen.html import html_report
from beholder.loadgen.plan import LoadPlan
from beholder.loadgen.progress import LiveProgress, PlainProgress, SilentProgress, Tally
from beholder.loadgen.report import LoadReport, Spread, percentile, report_from, spread_of
from beholder.loadgen.text import answer_line, summary_text

PLAN = LoadPlan("http://127.0.0.1:8080/upload", (Path("a.jpg"),))


def answer(file: str = "a.jpg", latency_s: float = 0.1, at_s: float = 0.0, **fields: object) -> Answer:
    said = {"status": 200, "label": "tench"} | fields
    return Answer(file, at_s, at_s, at_s + latency_s, Response(**said))  # type: ignore[arg-type]


def failed(error: str, status: int = 503) -> Answer:
    return answer(status=status, label=None, error=error)


@pytest.mark.parametrize(
    ("percent", "count", "expected"),
    [
        (50, 1, 1),
        (50, 2, 1),
        (50, 3, 2),
        (50, 100, 50),
        (99, 100, 99),
        (95, 20, 19),
        (99, 10, 10),
        (100, 7, 7),
        (7, 100, 7),
    ],
)
def test_percentile_is_the_nearest_rank(percent: int, count: int, expected: int) -> None:
    assert percentile([float(value) for value in range(1, count + 1)], percent) == expected


def test_spread_of_known_values() -> None:
    spread = spread_of([float(value) for value in range(100, 0, -1)])
    assert spread == Spread(min=1, mean=50.5, p50=50, p90=90, p95=95, p99=99, max=100)
    assert spread_of([]) == Spread()


def test_counts_answers_files_statuses_and_errors() -> None:
    answers = [answer("a.jpg"), answer("b.jpg"), answer("a.jpg"), failed("overloaded"), failed("timeout", 0)]
    report = report_from(answers, duration_s=2.0)
    assert (report.requests, report.answered, report.unique_files, report.duplicates) == (5, 3, 2, 1)
    assert report.statuses == {0: 1, 200: 3, 503: 1}
    assert report.errors == {"overloaded": 1, "timeout": 1}
    assert report.throughput_per_s == 1.5
    assert not report.is_clean


def test_latency_leaves_out_the_errors() -> None:
    fast_error = answer(latency_s=0.001, status=503, label=None, error="overloaded")
    report = report_from([answer(latency_s=0.5), fast_error], duration_s=1.0)
    assert report.latency_s.min == 0.5


def test_an_interrupted_run_is_not_clean() -> None:
    assert report_from([answer()], duration_s=1.0).is_clean
    assert not report_from([answer()], duration_s=1.0, is_interrupted=True).is_clean
    assert not report_from([], duration_s=1.0).is_clean


def test_the_summary_shows_whether_a_job_was_answered_twice() -> None:
    once = report_from([answer(job_id="j1"), answer("b.jpg", job_id="j2")], duration_s=1.0)
    twice = report_from([answer(job_id="j1"), answer("b.jpg", job_id="j1")], duration_s=1.0)
    unreported = report_from([answer()], duration_s=1.0)
    assert "2 different ids, none twice" in summary_text(once)
    assert (twice.unique_jobs, twice.duplicate_jobs) == (1, 1)
    assert "1 ids came more than once" in summary_text(twice)
    assert "jobs" not in summary_text(unreported)


def test_the_summary_names_what_went_wrong() -> None:
    text = summary_text(report_from([answer(), failed("overloaded")], duration_s=1.0), Accuracy(2, 1, 1))
    assert "1 of 2 requests" in text
    assert "1 answered, none twice" in text
    assert "overloaded: 1" in text
    assert "top-1 1 of 2, top-5 1 of 2" in text


def test_a_line_per_answer() -> None:
    assert answer_line(answer(confidence=0.973)).split() == ["a.jpg", "tench", "97.3%", "100.0", "ms"]
    assert "ERROR overloaded" in answer_line(failed("overloaded"))


def test_accuracy_compares_class_numbers(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("file,index,wnid,name\na.jpg,0,n0,tench\nb.jpg,7,n7,cock\nc.jpg,9,n9,ostrich\n")
    answers = [
        answer("a.jpg", indices=(0, 1)),
        answer("b.jpg", indices=(1, 7)),
        answer("c.jpg", status=503, label=None, error="overloaded"),
        answer("other.jpg", indices=(3,)),
    ]
    assert accuracy_of(answers, read_expected(labels)) == Accuracy(known=3, top_1=1, top_5=2)


@pytest.mark.parametrize(
    "content", ["file,name\na.jpg,tench\n", "file,index\na.jpg,first\n", "file,index\na.jpg\n"]
)
def test_expected_labels_of_another_form_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(ConfigError, match="columns file,index,name"):
        read_expected(tmp_path / "labels.csv")


def test_missing_expected_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_expected(tmp_path / "labels.csv")


def test_the_tally_knows_rate_median_and_errors() -> None:
    times = iter([0.0, 2.0])
    tally = Tally(lambda: next(times))
    for latency_s in (0.010, 0.100, 5.0):
        tally.add(answer(latency_s=latency_s))
    tally.add(failed("timeout"))
    assert re.fullmatch(r"2\.0/s  p50 (98|99|100|101|102) ms  errors 1", tally.text())


def test_plain_progress_writes_a_line_when_some_seconds_have_passed() -> None:
    now_s, lines = [0.0], list[str]()
    progress = PlainProgress(lines.append, total=9, is_each=False, now_s=lambda: now_s[0])
    with progress:
        for now_s[0] in (1.0, 2.0, 3.0, 4.0, 7.0):
            progress.show(answer())
    assert [line.split("  ")[0] for line in lines] == ["3 of 9", "5 of 9"]


def test_live_progress_draws_the_figures_and_a_line_per_photo() -> None:
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=120, color_system=None)
    with LiveProgress(console, total=3, is_each=True) as progress:
        progress.show(answer("[b]a.jpg"))
        progress.show(failed("overloaded"))
    drawn = terminal.getvalue()
    assert "[b]a.jpg" in drawn
    assert "ERROR overloaded" in drawn
    assert "2/3" in drawn
    assert "errors 1" in drawn


def test_silent_progress_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with SilentProgress() as progress:
        progress.show(answer())
    assert capsys.readouterr() == ("", "")


def test_plain_progress_writes_a_line_per_photo_when_asked_to() -> None:
    lines = list[str]()
    with PlainProgress(lines.append, total=None, is_each=True, now_s=lambda: 0.0) as progress:
        progress.show(answer("a.jpg"))
        progress.show(answer("b.jpg"))
    assert [line.split()[0] for line in lines] == ["a.jpg", "b.jpg"]


def page_of(report: LoadReport) -> str:
    return html_report(report, PLAN)


def test_the_page_escapes_what_others_wrote() -> None:
    nasty = answer('<b>&".jpg', latency_s=0.2, label="<script>alert(1)</script>")
    page = page_of(report_from([nasty, failed("<i>code</i>")], duration_s=1.0))
    assert "<script" not in page
    assert "<b>&" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_holds_a_point_per_answer_with_a_title() -> None:
    page = page_of(report_from([answer(at_s=0.1), answer(at_s=0.2), failed("overloaded")], duration_s=1.0))
    assert page.count('class="point"') == 2
    assert page.count('class="point error"') == 1
    assert "a.jpg: tench, 100.0 ms" in page
    assert "a.jpg: overloaded, 100.0 ms" in page


def test_the_page_shows_jobs_accuracy_and_the_open_loop() -> None:
    report = report_from([answer(job_id="j1")], duration_s=1.0)
    plan = LoadPlan("http://h/v1/classify", (Path("a.jpg"),), rate_per_s=5, duration_s=2)
    page = html_report(report, plan, accuracy=Accuracy(1, 1, 1), made_at="2026-01-02 03:04 UTC")
    assert "1 different ids, none twice" in page
    assert "100.0%" in page
    assert "5 per second, poisson, seed 0" in page
    assert "2026-01-02 03:04 UTC" in page


def test_the_page_thins_out_many_points_but_keeps_the_errors() -> None:
    answers = [answer(at_s=index / 1000) for index in range(20_000)] + [failed("overloaded")] * 3
    page = page_of(report_from(answers, duration_s=20.0))
    assert 2_500 <= page.count('class="point"') <= 5_000
    assert page.count('class="point error"') == 3


def test_the_page_loads_nothing_else() -> None:
    page = page_of(report_from([answer(at_s=index / 9) for index in range(50)], duration_s=6.0))
    without_own_url = page.replace(PLAN.url, "")
    assert not re.search(r"https?://|src=|@import|url\(", without_own_url)


@pytest.mark.parametrize("answers", [[], [failed("timeout", 0)], [answer(latency_s=0.0)]])
def test_the_page_is_complete_with_few_answers(answers: list[Answer]) -> None:
    page = page_of(report_from(answers, duration_s=0.0))
    assert "nan" not in page
    assert "</html>" in page
