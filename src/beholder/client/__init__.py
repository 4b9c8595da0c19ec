"""The client of a service: for programs in Python, and for the commands that talk to one.

from beholder.client import Client

with Client("http://127.0.0.1:8080") as client:
    print(client.classify("cat.jpg").labels[0].name)
"""

from beholder.client.async_client import AsyncClient
from beholder.client.client import Client
from beholder.client.errors import ServiceUnreachable
from beholder.client.images import FileResult
from beholder.errors import BadImage, BeholderError, JobError, NotFound, OutcomeLate, Overloaded, Unauthorized
from beholder.job import Job

__all__ = [
    "AsyncClient",
    "BadImage",
    "BeholderError",
    "Client",
    "FileResult",
    "Job",
    "JobError",
    "NotFound",
    "OutcomeLate",
    "Overloaded",
    "ServiceUnreachable",
    "Unauthorized",
]
