"""The schemas of the OpenAPI document: derived from the types, with values that only this service knows."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from beholder.errors import ImageTypeUnsupported
from beholder.job import Job
from beholder.model.decode.limits import ImageLimits
from beholder.scaling.records.history import FleetHistory
from beholder.web.fleet_document import FleetDocument
from beholder.web.limits import WebLimits
from beholder.web.openapi.examples import error_example
from beholder.web.openapi.json_schema import ref, schema_of, schemas_of
from beholder.web.ports import WebPorts
from beholder.web.problems import ProblemDocument
from beholder.web.routes.compat.cog import CogErrorDocument, CogHealthDocument, CogJobDocument
from beholder.web.routes.compat.huggingface import HuggingFaceErrorDocument, HuggingFaceLabelDocument
from beholder.web.routes.compat.kserve import (
    KserveErrorDocument,
    KserveModelDocument,
    KserveServerDocument,
)
from beholder.web.routes.compat.torchserve import TorchServeErrorDocument, TorchServeHealthDocument
from beholder.web.routes.dead_letters import DeadLettersDocument, RedriveDocument
from beholder.web.service_documents import HealthDocument, IndexDocument, ModelsDocument, ReadinessDocument
from beholder.web.submission.direct_uploads import UploadDocument
from beholder.web.submission.estimates import EstimateDocument
from beholder.web.submission.job_list import JobListDocument

__all__ = ["schemas"]

_DOCUMENTS = (
    Job,
    ProblemDocument,
    JobListDocument,
    EstimateDocument,
    UploadDocument,
    ModelsDocument,
    IndexDocument,
    HealthDocument,
    ReadinessDocument,
    FleetDocument,
    FleetHistory,
    DeadLettersDocument,
    RedriveDocument,
    CogErrorDocument,
    CogHealthDocument,
    CogJobDocument,
    HuggingFaceErrorDocument,
    HuggingFaceLabelDocument,
    KserveErrorDocument,
    KserveModelDocument,
    KserveServerDocument,
    TorchServeErrorDocument,
    TorchServeHealthDocument,
)
# Members that are added when a document is written, and are not fields of its type.
_JOB_URLS = {
    "type": "object",
    "description": "Where to fetch the job.",
    "properties": {"get": {"type": "string", "description": "Path of this job."}},
    "required": ["get"],
}
_ITEMS = {
    "type": "object",
    "description": "The answers for several images.",
    "properties": {
        "items": {
            "type": "array",
            "description": "For each image, in the order of the form, its job or error, as for one alone.",
            "items": {"anyOf": [ref("schemas", "Job"), ref("schemas", "Problem")]},
            "minItems": 2,
        }
    },
    "required": ["items"],
}
_FAILED_JOB = {
    **ref("schemas", "Job"),
    "description": "The job, if it was accepted and then failed; otherwise missing.",
}


def schemas(ports: WebPorts, codes: Iterable[str]) -> dict[str, Any]:
    """Return every schema of the document by name.

    Args:
        ports: The ports of the web tier; their models and limits are the examples.
        codes: The error codes that a caller may see.
    """
    found = schemas_of(_DOCUMENTS) | {"Limits": _limits(ports)}
    found["Job"]["properties"]["urls"] = _JOB_URLS
    found["Job"]["required"].append("urls")
    found["Job"]["properties"]["estimate"] = {
        **ref("schemas", "Estimate"),
        "description": "When an unfinished job may have its outcome; in answers to a GET of the job alone.",
    }
    found["Options"]["properties"]["top_k"]["maximum"] = ports.limits.top_k_max
    found["Problem"]["properties"]["code"]["enum"] = list(codes)
    found["Problem"]["properties"]["job"] = _FAILED_JOB
    found["Problem"]["examples"] = [error_example(ImageTypeUnsupported)]
    found["Instance"]["properties"]["state"]["enum"].remove("terminated")
    found["Items"] = _ITEMS
    found["Models"]["properties"]["models"]["minItems"] = 1
    found["Model"]["examples"] = [asdict(ports.models[0])]
    return found


def _limits(ports: WebPorts) -> dict[str, Any]:
    """Return the schema of the limits, in which the limits of an image stand beside the others."""
    limits, of_image = schema_of(WebLimits), schema_of(ImageLimits)
    del limits["properties"]["image"]
    properties = of_image["properties"] | limits["properties"]
    return limits | {
        "properties": properties,
        "required": list(properties),
        "examples": [ports.limits.to_dict()],
    }
