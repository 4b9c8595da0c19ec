"""The documents that describe the service: index, health, readiness, models."""

from dataclasses import dataclass
from typing import Annotated, Literal

from beholder.web.ports import ServedModel

__all__ = ["HealthDocument", "IndexDocument", "ModelsDocument", "Part", "PartProblem", "ReadinessDocument"]

Part = Literal["input queue", "input bucket", "output bucket"]


@dataclass(frozen=True, slots=True)
class IndexDocument:
    """The endpoints of the service."""

    name: Annotated[Literal["beholder"], "Name of the service."]
    version: Annotated[str, "Version of the service."]
    endpoints: Annotated[tuple[str, ...], "Method and path of each endpoint."]
    openapi: Annotated[str, "Path of the OpenAPI document."]
    docs: Annotated[str, "Path of the OpenAPI document as a page."]


@dataclass(frozen=True, slots=True)
class HealthDocument:
    """The process answers."""

    status: Annotated[Literal["ok"], "Always `ok`; a process that is not ok does not answer."]


@dataclass(frozen=True, slots=True)
class PartProblem:
    """A part that does not answer; the log has the cause."""

    part: Annotated[Part, "The part that does not answer."]
    code: Annotated[str, "Code of the error, as in problem documents."]
    detail: Annotated[str, "The error in words, for people."]


@dataclass(frozen=True, slots=True)
class ReadinessDocument:
    """Whether images can be accepted."""

    status: Annotated[
        Literal["ready", "unready", "draining"],
        "`ready` if every part answers; `draining` if the process serves on and will end.",
    ]
    problems: Annotated[tuple[PartProblem, ...], "The parts that do not answer."]


@dataclass(frozen=True, slots=True)
class ModelsDocument:
    """Every model served."""

    default: Annotated[str, "Name of the model that is used if a request names none."]
    default_version: Annotated[str, "Version of that model."]
    models: Annotated[tuple[ServedModel, ...], "The models, the default one first."]
