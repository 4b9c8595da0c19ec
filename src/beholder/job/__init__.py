"""The job: one image to classify, and the two forms in which it travels.

`Job` is what callers see and what the output bucket keeps; `Message` is what the input queue carries.
"""

from beholder.job.ids import is_job_id, new_job_id
from beholder.job.job import Failure, Job, JobInput, JobStatus, Label, Metrics, Options, read_outcome
from beholder.job.message import Message, MessageInvalid

__all__ = [
    "Failure",
    "Job",
    "JobInput",
    "JobStatus",
    "Label",
    "Message",
    "MessageInvalid",
    "Metrics",
    "Options",
    "is_job_id",
    "new_job_id",
    "read_outcome",
]
