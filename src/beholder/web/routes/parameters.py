"""Reads the parameters of a request: options, wait, deadline and idempotency key.

No parameter is ignored: an unknown, repeated or empty parameter is refused, because its caller believes that
it works.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers
from starlette.requests import Request

from beholder.errors import (
    BadParameter,
    IdempotencyKeyInvalid,
    ParameterRepeated,
    ParameterUnknown,
)
from beholder.job import Options
from beholder.web.limits import WebLimits
from beholder.web.nearest import nearest
from beholder.web.routes.tags import read_tag
from beholder.web.served_models import ServedModels, read_label_list
from beholder.web.webhooks.record import Webhook

__all__ = [
    "CLASSIFY",
    "CLASSIFY_OPTIONS",
    "OPTIONS",
    "UPLOAD",
    "RequestParameters",
    "read_deadline_s",
    "read_header",
    "read_idempotency_key",
    "read_options",
    "read_prefer",
    "read_query",
    "read_whole",
]

OPTIONS = ("top_k", "min_confidence", "model", "include", "exclude")
"""The parameters that say what is asked of the classifier."""
CLASSIFY_OPTIONS = (*OPTIONS, "tag", "webhook")
"""The parameters of `/v1/classify` that may also be members of its body."""
CLASSIFY = (*CLASSIFY_OPTIONS, "file_name")
"""The parameters in the query of `/v1/classify`."""
UPLOAD = ("min_confidence", "model", "include", "exclude", "file_name")
"""The parameters in the query of `/upload`, which answers with one label."""

_FILTERS = ("include", "exclude")
_QUERY_ONLY = "file_name"
# Fields that browsers and frameworks add to a form by themselves.
_IGNORED_FIELDS = {"_charset_", "MAX_FILE_SIZE", "submit"}
_SHOWN_CHARS_MAX = 50

_DECIMAL = re.compile(r"\d{0,20}\.?\d{1,20}(?:[eE]-?\d{1,3})?|\d{1,20}\.")
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*(ms|s|m|h)?")
_DEADLINE_MIN_S, _DEADLINE_MAX_S = 1.0, 604_800.0
_WHOLE_DIGITS_MAX = 18
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


@dataclass(frozen=True, slots=True)
class Prefer:
    """How long a request waits for its outcome.

    Args:
        wait_s: Seconds; 0 if it does not wait.
        applied: The answer's Preference-Applied header; empty if the request states no preference.
    """

    wait_s: float
    applied: str


@dataclass(frozen=True, slots=True)
class RequestParameters:
    """The query and the headers of a request that sends an image.

    Args:
        query: Names and values.
        known: Names of the parameters that the path takes.
        deadline_s: When the outcome becomes worthless, seconds since the Unix epoch; None for never.
        idempotency_key: Identifies the request across repetitions; None if it has none.
    """

    query: Mapping[str, str]
    known: Sequence[str]
    deadline_s: float | None
    idempotency_key: str | None

    @classmethod
    def read(
        cls,
        request: Request,
        known: Sequence[str],
        models: ServedModels,
        limits: WebLimits,
        now_s: float,
        *,
        model: str | None = None,
    ) -> Self:
        """Read and check every parameter before the body is read.

        Args:
            request: The HTTP request.
            known: Names of the parameters that the path takes in its query.
            models: Every model served.
            limits: What a request may ask for.
            now_s: The time, seconds since the Unix epoch.
            model: The model that the path names; None if it names none.

        Raises:
            RequestError: As the other functions of this module.
        """
        headers = request.headers
        query = read_query(request.query_params.multi_items(), known)
        if model is not None:
            query["model"] = model
        parameters = cls(
            query=query,
            known=known,
            deadline_s=read_deadline_s(read_header(headers, "Cancel-After"), now_s),
            idempotency_key=read_idempotency_key(read_header(headers, "Idempotency-Key"), limits),
        )
        # The model that the filters are for may be a field of the form.
        early = query if "model" in query else {name: query[name] for name in query if name not in _FILTERS}
        read_options(early, models, limits)
        return parameters

    @property
    def file_name(self) -> str:
        """The file name that the query gives; empty if it gives none."""
        return self.query.get(_QUERY_ONLY, "")

    def options_with(self, fields: Mapping[str, str], models: ServedModels, limits: WebLimits) -> Options:
        """Return the options that the query and the text fields of a form give together.

        Raises:
            ParameterUnknown: The path takes no field of this name.
            ParameterRepeated: The query and the form contradict each other.
            BadParameter: A value is not allowed.
            LabelUnknown: A filter names a label that the model does not have.
            ModelNotFound: No model of this name is served.
            ModelVersionNotFound: The model is served in other versions.
        """
        _check_fields(fields, self.known)
        return read_options(_join(self.query, fields), models, limits)

    def webhook_with(self, fields: Mapping[str, str]) -> Webhook | None:
        """Return the webhook that the query or the text fields of a form ask for; None if they ask for none.

        Raises:
            ParameterRepeated: The query and the form contradict each other.
        """
        url = _join(self.query, fields).get("webhook")
        return Webhook(url) if url else None

    def tag_with(self, fields: Mapping[str, str]) -> str | None:
        """Return the tag that the query or the text fields of a form give; None if they give none.

        Raises:
            ParameterRepeated: The query and the form contradict each other.
            BadParameter: It is no tag.
        """
        return read_tag(_join(self.query, fields))


def read_query(items: Iterable[tuple[str, str]], known: Sequence[str]) -> dict[str, str]:
    """Return the parameters of a query by name.

    Raises:
        ParameterUnknown: The path takes no such parameter.
        ParameterRepeated: One is given twice.
        BadParameter: One is empty.
    """
    values: dict[str, str] = {}
    for name, value in items:
        if name not in known:
            raise ParameterUnknown(_unknown("parameter", name, known))
        if name in values:
            raise ParameterRepeated(f"{name} is given more than once in the query; give it once")
        if not value:
            raise BadParameter(f"{name} is empty; give it a value, or leave it out")
        values[name] = value
    return values


def _check_fields(names: Iterable[str], known: Sequence[str]) -> None:
    known = [name for name in known if name != _QUERY_ONLY]
    for name in names:
        if name not in known and name not in _IGNORED_FIELDS:
            raise ParameterUnknown(_unknown("field", name, known))


def _join(query: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, str]:
    for name in query.keys() & fields.keys():
        if query[name] != fields[name]:
            raise ParameterRepeated(
                f"{name} is {query[name][:_SHOWN_CHARS_MAX]!r} in the query and "
                f"{fields[name][:_SHOWN_CHARS_MAX]!r} in the form; give it once"
            )
    return {**fields, **query}


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    shown = f"there is no {what} {name[:_SHOWN_CHARS_MAX]!r}"
    if name == _QUERY_ONLY:
        return f"{name} is a parameter of the query and not a field of the form; send it in the query"
    meant = nearest(name, known)
    if meant:
        return f"{shown}; did you mean {meant}?"
    if "min_confidence" in known and nearest(name, CLASSIFY) == "top_k":
        return f"{shown} here, where the answer is one label; POST /v1/classify takes top_k"
    return f"{shown}; this path takes {', '.join(known)}"


def read_options(values: Mapping[str, str], models: ServedModels, limits: WebLimits) -> Options:
    """Read the options of a request.

    Raises:
        BadParameter: A value is not allowed.
        LabelUnknown: A filter names a label that the model does not have.
        ModelNotFound: No model of this name is served.
        ModelVersionNotFound: The model is served in other versions.
    """
    model = values.get("model") or None
    served = models.chosen(model)
    filters = {
        name: models.classes_of(served, read_label_list(text, name), name, limits.filter_labels_max)
        for name in _FILTERS
        if (text := values.get(name))
    }
    defaults = Options()
    return Options(
        model=model,
        top_k=read_whole(values, "top_k", defaults.top_k, 1, limits.top_k_max),
        min_confidence=_fraction(values, "min_confidence", defaults.min_confidence),
        include=filters.get("include", ()),
        exclude=filters.get("exclude", ()),
    )


def read_prefer(headers: Sequence[str], limits: WebLimits) -> Prefer:
    """Read the Prefer headers, which count as one list; unknown preferences are ignored.

    Source: RFC 7240, sections 4.1 (respond-async) and 4.3 (wait).
    """
    wait_s, applied = limits.wait_s_default, []
    for part in ",".join(headers).split(","):
        token = part.split(";")[0].strip().lower()
        name, _, value = token.partition("=")
        value = value.strip().strip('"')
        if name.strip() == "respond-async":
            return Prefer(0.0, "respond-async")
        if name.strip() == "wait" and value.isascii() and value.isdigit():
            wait_s = min(float(value), limits.wait_s_max)
            applied = [f"wait={wait_s:g}"]
    return Prefer(wait_s, ", ".join(applied))


def read_header(headers: Headers, name: str) -> str | None:
    """Return the value of a header that a request may have once; None if it has none.

    Raises:
        ParameterRepeated: The request has it more than once.
    """
    values = headers.getlist(name)
    if len(values) > 1:
        raise ParameterRepeated(f"the header {name} is given more than once; give it once")
    return values[0] if values else None


def read_deadline_s(header: str | None, now_s: float) -> float | None:
    """Return when the outcome becomes worthless, from a Cancel-After header such as '30s'.

    Raises:
        BadParameter: The header is no duration from one second to a week.
    """
    if header is None:
        return None
    match = _DURATION.fullmatch(header.strip().lower())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not _DEADLINE_MIN_S <= seconds <= _DEADLINE_MAX_S:
        raise BadParameter(
            f"Cancel-After is {header[:_SHOWN_CHARS_MAX]!r}; send a duration from 1s to 168h, such as 30s"
        )
    return now_s + seconds


def read_idempotency_key(header: str | None, limits: WebLimits) -> str | None:
    """Return the Idempotency-Key; None without the header.

    Raises:
        IdempotencyKeyInvalid: The key is empty, too long or not printable.
    """
    if header is None:
        return None
    key = header.strip().strip('"')
    if not key or len(key) > limits.idempotency_key_chars_max or not key.isprintable():
        raise IdempotencyKeyInvalid(
            f"Idempotency-Key must have 1 to {limits.idempotency_key_chars_max} printable characters"
        )
    return key


def read_whole(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return a parameter that is a whole number.

    Raises:
        BadParameter: It is none, or out of bounds.
    """
    text = values.get(name)
    if not text:
        return default
    is_whole = text.isascii() and text.isdigit() and len(text) <= _WHOLE_DIGITS_MAX
    if not is_whole or not low <= int(text) <= high:
        raise BadParameter(f"{name} is {text[:_SHOWN_CHARS_MAX]!r}; send a whole number from {low} to {high}")
    return int(text)


def _fraction(values: Mapping[str, str], name: str, default: float) -> float:
    text = values.get(name)
    if not text:
        return default
    value = float(text) if _DECIMAL.fullmatch(text) else -1.0
    if not 0.0 <= value <= 1.0:
        raise BadParameter(f"{name} is {text[:_SHOWN_CHARS_MAX]!r}; send a probability from 0 to 1")
    return value
