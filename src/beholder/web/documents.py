"""The documents that tell of the service itself."""

from dataclasses import dataclass
from typing import Literal

from beholder.web.ports import ServedModel

__all__ = ["HealthDocument", "IndexDocument", "ModelsDocument", "Part", "PartProblem", "ReadinessDocument"]

Part = Literal["input queue", "input bucket", "output bucket"]


@dataclass(frozen=True, slots=True)
class IndexDocument:
    """What is served.

    Args:
        name: Name of the service.
        version: Version of the service.
        endpoints: Method and path of each endpoint.
        openapi: Path of the OpenAPI document.
        docs: Path of the OpenAPI document as a page.
    """

    name: Literal["beholder"]
    version: str
    endpoints: tuple[str, ...]
    openapi: str
    docs: str


@dataclass(frozen=True, slots=True)
class HealthDocument:
    """The process answers.

    Args:
        status: Always `ok`; a process that is not does not answer.
    """

    status: Literal["ok"]


@dataclass(frozen=True, slots=True)
class PartProblem:
    """A part that does not answer; the log has the cause.

    Args:
        part: What does not answer.
        code: Code of the error, as in problem documents.
        detail: The error in words, for people.
    """

    part: Part
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ReadinessDocument:
    """Whether images can be accepted.

    Args:
        status: `ready` where every part answers.
        problems: The parts that do not answer.
    """

    status: Literal["ready", "unready"]
    problems: tuple[PartProblem, ...]


@dataclass(frozen=True, slots=True)
class ModelsDocument:
    """Every model served.

    Args:
        default: Name of the model used where a request names none.
        models: The models; the default one is the first.
    """

    default: str
    models: tuple[ServedModel, ...]
