"""Parts of operations of the OpenAPI document."""

from collections.abc import Iterable
from typing import Any

from beholder.web.openapi.errors import PROBLEM, ErrorForm, other_problems
from beholder.web.openapi.examples import accepted_example
from beholder.web.openapi.json_schema import ref

__all__ = ["json_answer", "operation", "unfinished"]

_Doc = dict[str, Any]


def operation(
    operation_id: str,
    tag: str,
    summary: str,
    description: str,
    responses: _Doc,
    *,
    named: Iterable[str] = (),
    body: _Doc | None = None,
    error_form: ErrorForm = PROBLEM,
) -> _Doc:
    """Return an operation.

    Args:
        operation_id: Its name.
        tag: Its group.
        summary: What it does, in a sentence.
        description: More about it.
        responses: Its answers by status.
        named: The components that are its parameters.
        body: What a request contains.
        error_form: The form of its errors.
    """
    found = {
        "operationId": operation_id,
        "tags": [tag],
        "summary": summary,
        "description": description,
        "parameters": [ref("parameters", name) for name in (*named, "RequestId")],
        "requestBody": body,
        "responses": responses | {"default": other_problems(error_form)},
    }
    return {name: value for name, value in found.items() if value}


def json_answer(schema: str, description: str, example: Any, more_headers: _Doc | None = None) -> _Doc:
    """Return an answer with a document.

    Args:
        schema: The name of the document's schema.
        description: What the answer says.
        example: An example of the document; None for none.
        more_headers: Headers beside the request's id.
    """
    media: _Doc = {"schema": ref("schemas", schema)}
    if example is not None:
        media["example"] = example
    return {
        "description": description,
        "headers": {"x-request-id": ref("headers", "RequestId")} | (more_headers or {}),
        "content": {"application/json": media},
    }


def unfinished(more_headers: _Doc) -> _Doc:
    """Return the answer 202."""
    later = {"Location": ref("headers", "Location"), "Retry-After": ref("headers", "LookAgain")}
    return json_answer(
        "Job", "Accepted and not finished; fetch it under Location.", accepted_example(), later | more_headers
    )
