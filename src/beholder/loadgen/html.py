"""The report as one HTML page that needs nothing from elsewhere."""

from html import escape

from beholder.loadgen.plan import LoadPlan
from beholder.loadgen.report import LoadReport
from beholder.loadgen.text import summary_text

__all__ = ["html_report"]


def html_report(report: LoadReport, plan: LoadPlan) -> str:
    """Return the page."""
    return f"<!doctype html><title>{escape(plan.url)}</title><pre>{escape(summary_text(report))}</pre>"
