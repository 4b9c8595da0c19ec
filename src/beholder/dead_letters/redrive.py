"""Redrive: a dead letter is read, decided on, and sent into the input queue once more.

Sending a letter back undoes what the dead-letter consumer did, in an order that loses nothing wherever the
process dies:

1. claim the letter, so that a second redrive leaves it alone,
2. delete the outcome that the dead-letter consumer wrote, because a worker leaves an outcome as it is,
3. send the message anew: received zero times, without deadline and reply queue, because no client waits,
4. delete the letter, then the claim.

Until step 4 the letter stands, so the next redrive repeats all steps of one that died. If the job has an
outcome of its own by then, the letter is only put away.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from beholder.clock import Clock, age_s, time_s_of
from beholder.errors import (
    BackendDenied,
    ConfigError,
    JobAbandoned,
    NotFound,
    ObjectExists,
    ObjectNotFound,
    RequestError,
)
from beholder.job import Job, Message, MessageInvalid, read_outcome
from beholder.queue.port import Queue
from beholder.results.fan_out import MapItems
from beholder.store.keys import redrive_claim_key, result_key, text_key
from beholder.store.port import ObjectInfo, Store

__all__ = ["Action", "DeadLetter", "DeadLetterNotFound", "Redrive", "RedriveDecision", "decide"]

_DEAD = "dead/"
_UNREADABLE = "dead/unreadable/"
# Longer than the dead-letter consumer takes from a letter to its outcome, and a redrive for one letter.
_SETTLED_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, as the output bucket keeps it.

    Args:
        id: The job's id; the SHA-256 of the body if that is unreadable.
        key: Its key in the output bucket.
        at_s: When it was given up, seconds since the Unix epoch.
        stored_at_s: When the letter was last written, seconds since the Unix epoch.
        code: Of the failure.
        reason: A sentence.
        file_name: Of the image, as the client sent it; None if unknown.
        body: The message as it was first sent; None if the letter itself is torn.
    """

    id: str
    key: str
    at_s: float
    stored_at_s: float
    code: str
    reason: str
    file_name: str | None
    body: bytes | None

    @property
    def is_unreadable(self) -> bool:
        """Say whether the body cannot be read; such a letter is sent back only by its id."""
        return self.key.startswith(_UNREADABLE) or self.body is None

    def message(self) -> Message | None:
        """Return the job's message; None if the body is something else, such as an event of a bucket."""
        try:
            return Message.from_bytes(self.body or b"")
        except MessageInvalid:
            return None


class DeadLetterNotFound(RequestError, NotFound, code="dead_letter_not_found", http_status=404):
    """No dead letter has this id; another redrive may have sent it back."""


class Action(StrEnum):
    """What is done with a dead letter."""

    SEND = "send"
    PUT_AWAY = "put_away"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class RedriveDecision:
    """What is done with a dead letter, and why, as half a sentence."""

    action: Action
    reason: str


def decide(letter: DeadLetter, standing: Job | None, now_s: float) -> RedriveDecision:
    """Decide what to do with a letter.

    Args:
        letter: The letter.
        standing: The outcome that its job has now, or None.
        now_s: Seconds since the Unix epoch.
    """
    if letter.body is None:
        return RedriveDecision(
            Action.LEAVE, "the letter is torn or cannot be read; repair or delete its object"
        )
    if letter.message() is None:
        return RedriveDecision(Action.SEND, "goes back as it is")
    if standing is None:
        if age_s(now_s, letter.stored_at_s) < _SETTLED_AFTER_S:
            return RedriveDecision(
                Action.LEAVE, "the dead-letter consumer is not done with it; try again in a minute"
            )
        return RedriveDecision(Action.SEND, "has no outcome")
    if standing.error is not None and standing.error.code == letter.code:
        return RedriveDecision(Action.SEND, f"failed as {letter.code}")
    return RedriveDecision(Action.PUT_AWAY, f"its job came to an outcome: {standing.status}")


class Redrive:
    """Lists dead letters and sends them back.

    Two redrives may run at once, and beside the dead-letter consumer: a letter is claimed before it is
    touched, is read again once it is claimed, and stays if the dead-letter consumer wrote it again meanwhile.
    A claim expires after 60 s. A redrive that takes longer has died, or a second one repeats its work.

    Args:
        queue: The input queue.
        results: The output bucket.
        clock: The time.
        map_items: Reads the letters.
    """

    def __init__(self, queue: Queue, results: Store, clock: Clock, *, map_items: MapItems = map) -> None:
        self._queue = queue
        self._results = results
        self._clock = clock
        self._map_items = map_items

    def letters(self) -> list[DeadLetter]:
        """Return all dead letters, newest last.

        Raises:
            BackendError: The output bucket cannot be read.
        """
        return self._read_all(self._ids())

    def newest(self, count_max: int) -> tuple[list[DeadLetter], int]:
        """Return the letters of the newest jobs by id, newest last, and how many letters there are.

        Raises:
            BackendError: The output bucket cannot be read.
        """
        known = self._ids()
        ids = sorted(known)[-count_max:]
        return self._read_all({letter_id: known[letter_id] for letter_id in ids}), len(known)

    def find(self, ids: Sequence[str]) -> list[DeadLetter]:
        """Return the letters of these ids, newest last; an id that is given twice counts once.

        Raises:
            ConfigError: Some ids name no letter; the error lists all of them.
            BackendError: The output bucket cannot be read.
        """
        known = self._ids()
        wanted = dict.fromkeys(ids)
        if unknown := [letter_id for letter_id in wanted if letter_id not in known]:
            raise ConfigError(
                [
                    f"no dead letter has the id {letter_id!r}; beholder redrive lists all"
                    for letter_id in unknown
                ]
            )
        return self._read_all({letter_id: known[letter_id] for letter_id in wanted})

    def look(self, letter: DeadLetter) -> RedriveDecision:
        """Decide what to do with a letter, without doing it."""
        message = letter.message()
        return decide(letter, self._standing(message.job_id) if message else None, self._clock.now_s())

    def send_back(self, letter: DeadLetter) -> RedriveDecision:
        """Do what is decided on a letter, and return the decision.

        Raises:
            BackendError: A step failed. The letter stands; a redrive a minute later repeats all steps.
        """
        claim = redrive_claim_key(letter.id)
        if not self._claim(claim):
            return RedriveDecision(Action.LEAVE, "another redrive is at work on it; try again in a minute")
        fresh = self._read(letter.id, letter.key)
        if fresh is None:
            decision = RedriveDecision(Action.PUT_AWAY, "another redrive sent it meanwhile")
        else:
            decision = self.look(fresh)
            if decision.action is Action.SEND:
                self._send(fresh)
            if decision.action is not Action.LEAVE:
                self._put_away(fresh)
        # The claim stays if a step failed: the outcome may be gone by then, and the claim says why.
        self._results.delete(claim)
        return decision

    def _send(self, letter: DeadLetter) -> None:
        message, body = letter.message(), letter.body or b""
        if message is not None:
            self._results.delete(text_key(message.job_id))
            self._results.delete(result_key(message.job_id))
            body = replace(message, deadline_s=None, reply_to=None).to_bytes()
        self._queue.send([body])

    def _put_away(self, letter: DeadLetter) -> None:
        try:
            stored_at_s = self._results.head(letter.key).stored_at_s
        except ObjectNotFound:
            return
        # A dead-letter consumer that receives the message twice writes the letter again, then a failed
        # outcome.
        if stored_at_s == letter.stored_at_s:
            self._results.delete(letter.key)

    def _claim(self, key: str) -> bool:
        data = json.dumps({"at": self._clock.now_s()}).encode()
        try:
            self._results.put(key, data, only_if_absent=True)
        except ObjectExists:
            try:
                claimed_s = age_s(self._clock.now_s(), self._results.head(key).stored_at_s)
            except ObjectNotFound:
                return False
            if claimed_s < _SETTLED_AFTER_S:
                return False
            self._results.put(key, data)
        return True

    def _standing(self, job_id: str) -> Job | None:
        """Return the job's outcome; None if there is none, or a power cut tore it."""
        try:
            return read_outcome(self._results.get(result_key(job_id)), job_id=job_id)
        except (ObjectNotFound, ValueError):
            return None

    def _ids(self) -> dict[str, str]:
        """Return the key of every letter by its id."""
        found = {}
        for info in self._results.list(_DEAD):
            if (letter_id := _id_of(info)) is not None:
                found[letter_id] = info.key
        return found

    def _read_all(self, keys: dict[str, str]) -> list[DeadLetter]:
        read = self._map_items(lambda item: self._read(*item), list(keys.items()))
        letters = (letter for letter in read if letter is not None)
        return sorted(letters, key=lambda letter: (letter.at_s, letter.id))

    def _read(self, letter_id: str, key: str) -> DeadLetter | None:
        try:
            info = self._results.head(key)
            data = self._results.get(key)
        except ObjectNotFound:
            return None
        except BackendDenied as exc:  # for this object alone: the bucket could be listed
            reason = f"the letter cannot be read: {exc.message}"
            return DeadLetter(letter_id, key, 0.0, 0.0, exc.code, reason, None, None)
        return (
            _unreadable(letter_id, info, data)
            if key.startswith(_UNREADABLE)
            else _letter(letter_id, info, data)
        )


def _id_of(info: ObjectInfo) -> str | None:
    if info.key.startswith(_UNREADABLE):
        return info.key.removeprefix(_UNREADABLE).removesuffix(".bin")
    if info.key.endswith(".json"):
        return info.key.removeprefix(_DEAD).removesuffix(".json")
    return None  # a claim


def _unreadable(letter_id: str, info: ObjectInfo, body: bytes) -> DeadLetter:
    """Read a letter that is a bare body; its metadata hold the time and the reason."""
    code = MessageInvalid.code
    at_s = _time_of(info.metadata.get("at"), info.stored_at_s)
    reason = info.metadata.get("reason") or "it could not be read"
    return DeadLetter(letter_id, info.key, at_s, info.stored_at_s, code, reason, None, body)


def _letter(letter_id: str, info: ObjectInfo, data: bytes) -> DeadLetter:
    """Read a letter; the first version's letters have no time, reason or file name."""
    try:
        record = json.loads(data)
        code = str(record["code"])
        body = str(record["message"]).encode()
        at_s = _time_of(record.get("at"), info.stored_at_s)
        reason, file_name = record.get("reason"), record.get("file_name") or record.get("image_key")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        torn = f"the letter is torn: {type(exc).__name__}: {exc}"
        return DeadLetter(
            letter_id, info.key, info.stored_at_s, info.stored_at_s, MessageInvalid.code, torn, None, None
        )
    letter = DeadLetter(
        id=letter_id,
        key=info.key,
        at_s=at_s,
        stored_at_s=info.stored_at_s,
        code=code,
        reason=str(reason or (JobAbandoned().message if code == JobAbandoned.code else "")),
        file_name=str(file_name).rpartition("/")[2] if file_name else None,
        body=body,
    )
    message = letter.message()
    if letter.file_name is None and message is not None:
        return replace(letter, file_name=message.input.file_name)
    return letter


def _time_of(value: object, otherwise_s: float) -> float:
    """Return a time that is seconds since the Unix epoch, or an RFC 3339 text."""
    if isinstance(value, str):
        at_s = time_s_of(value)
        return otherwise_s if at_s is None else at_s
    return float(value) if isinstance(value, int | float) else otherwise_s
