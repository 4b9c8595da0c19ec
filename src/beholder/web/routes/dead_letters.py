"""The routes of dead letters, for operators: what was given up and why, and the way back."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from beholder.dead_letters.redrive import Action, DeadLetter, DeadLetterNotFound, Redrive
from beholder.documents import Count, Time, to_document
from beholder.errors import ConfigError

__all__ = ["DeadLetterRoutes", "DeadLettersDocument", "RedriveDocument"]

_LETTERS_MAX = 100


@dataclass(frozen=True, slots=True)
class DeadLetterDocument:
    """A job's message that was given up, and can be sent back to the workers."""

    id: Annotated[str, "The job's id, or the SHA-256 of a message that cannot be read."]
    at_s: Annotated[Time, "When it was given up."]
    file_name: Annotated[str | None, "Name of the image, as the client sent it; null if that is unknown."]
    code: Annotated[str, "The error's code."]
    reason: Annotated[str, "Why, in words."]


@dataclass(frozen=True, slots=True)
class DeadLettersDocument:
    """The dead letters."""

    total: Annotated[Count, "How many there are."]
    items: Annotated[tuple[DeadLetterDocument, ...], "The newest hundred by id, the newest first."]


@dataclass(frozen=True, slots=True)
class RedriveDocument:
    """What was done with a dead letter."""

    id: Annotated[str, "Its id."]
    action: Annotated[
        Action, "`send`: its job is queued again; `put_away`: it has an outcome already; `leave`: not now."
    ]
    reason: Annotated[str, "Why, as half a sentence."]


class DeadLetterRoutes:
    """The endpoints of dead letters.

    Args:
        redrive: Reads the letters and sends them back.
    """

    def __init__(self, redrive: Redrive) -> None:
        self._redrive = redrive

    async def get(self, _: Request) -> Response:
        """`GET /v1/dead-letters`: the newest, with their reasons."""
        letters, total = await asyncio.to_thread(self._redrive.newest, _LETTERS_MAX)
        found = DeadLettersDocument(total, tuple(_letter(one) for one in reversed(letters)))
        return JSONResponse(to_document(found))

    async def redrive(self, request: Request) -> Response:
        """`POST /v1/dead-letters/{letter_id}/redrive`: send one back.

        Raises:
            DeadLetterNotFound: There is no such letter.
            BackendError: A step failed; the letter stands.
        """
        letter_id = request.path_params["letter_id"]
        return JSONResponse(to_document(await asyncio.to_thread(self._send_back, letter_id)))

    def _send_back(self, letter_id: str) -> RedriveDocument:
        try:
            (letter,) = self._redrive.find([letter_id])
        except (ConfigError, ValueError) as exc:  # none has that id, or another redrive was faster
            raise DeadLetterNotFound from exc
        decision = self._redrive.send_back(letter)
        return RedriveDocument(letter_id, decision.action, decision.reason)


def _letter(one: DeadLetter) -> DeadLetterDocument:
    return DeadLetterDocument(one.id, one.at_s, one.file_name, one.code, one.reason)
