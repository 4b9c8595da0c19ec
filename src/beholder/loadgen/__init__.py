"""The workload generator: sends images to a running service and reports how it did.

It is a client: it knows the service by its HTTP interface alone.
`LoadPlan` says what to send and when, `run_load` sends it, `LoadReport` holds the figures.
"""

from beholder.loadgen.answer import Answer
from beholder.loadgen.engine import probe, run_load
from beholder.loadgen.expect import accuracy_of, read_expected
from beholder.loadgen.html import html_report
from beholder.loadgen.plan import Api, LoadPlan, images_in
from beholder.loadgen.report import LoadReport
from beholder.loadgen.text import answer_line, summary_text

__all__ = [
    "Answer",
    "Api",
    "LoadPlan",
    "LoadReport",
    "accuracy_of",
    "answer_line",
    "html_report",
    "images_in",
    "probe",
    "read_expected",
    "run_load",
    "summary_text",
]
