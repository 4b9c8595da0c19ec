"""The job: one image to classify, and the two forms in which it travels.

`Job` is what callers see and what the output bucket keeps; `Message` is what the input queue carries.
"""

from beholder.job.ids import created_at_s, is_job_id, job_id_from_key, new_job_id
from beholder.job.job import Failure, Job, JobInput, JobStatus, Label, Metrics, Options
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
    "created_at_s",
    "is_job_id",
    "job_id_from_key",
    "new_job_id",
]
