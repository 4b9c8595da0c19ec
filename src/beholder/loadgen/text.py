"""The report and its answers as plain text for a terminal or a log."""

from dataclasses import asdict

from beholder.loadgen.answer import Answer
from beholder.loadgen.expect import Accuracy
from beholder.loadgen.report import LoadReport

__all__ = ["answer_line", "files_phrase", "jobs_phrase", "summary_text"]


def answer_line(answer: Answer) -> str:
    """Return one line on an answer: file, label or error, confidence if known, milliseconds."""
    response = answer.response
    confidence = "" if response.confidence is None else f"{response.confidence:6.1%}"
    file, label = _cut(answer.file, 34), _cut(response.label or f"ERROR {response.error}", 24)
    return f"{file:<34} {label:<24} {confidence:>6} {answer.latency_s * 1000:8.1f} ms"


def summary_text(report: LoadReport, accuracy: Accuracy | None = None) -> str:
    """Return the report as a few aligned lines."""
    figures = "  ".join(f"{name} {value * 1000:.1f}" for name, value in asdict(report.latency_s).items())
    stopped = ", stopped early" if report.is_interrupted else ""
    rows = [
        ("answered", f"{report.answered} of {report.requests} requests{stopped}"),
        ("files", files_phrase(report)),
        ("jobs", jobs_phrase(report)),
        ("took", f"{report.duration_s:.2f} s, {report.throughput_per_s:.1f} answers/s"),
        ("latency ms", figures if report.answered else ""),
        ("HTTP", _counts({str(s or "none"): n for s, n in report.statuses.items()})),
        ("errors", _counts(report.errors)),
        ("accepted", f"{report.accepted} answered 202 and then polled" if report.accepted else ""),
        ("retries", f"{report.retry_count} after a 503" if report.retry_count else ""),
        ("right", _accuracy_phrase(accuracy)),
    ]
    return "\n".join(f"{name:<11} {text}" for name, text in rows if text)


def files_phrase(report: LoadReport) -> str:
    """Return how many files were answered, and how many more than once."""
    again = "none twice" if not report.duplicates else f"{report.duplicates:,} answers to files sent again"
    return f"{report.unique_files} answered, {again}"


def jobs_phrase(report: LoadReport) -> str:
    """Return how many jobs were answered, and how many more than once; empty if the API returns no ids."""
    if report.unique_jobs is None:
        return ""
    again = "none twice" if not report.duplicate_jobs else f"{report.duplicate_jobs} ids came more than once"
    return f"{report.unique_jobs} different ids, {again}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {number}" for name, number in counts.items())


def _accuracy_phrase(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return ""
    return f"top-1 {accuracy.top_1} of {accuracy.known}, top-5 {accuracy.top_5} of {accuracy.known}"
