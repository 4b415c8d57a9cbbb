"""What a route says of itself for the OpenAPI document, and the form of errors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from bridge.errors import BridgeError, Conflict, Gone, Internal, TooManyRequests, Unavailable, UnprocessableRun


class ErrorDetail(BaseModel):
    """What is wrong. `param` is the path of the field that is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """An error in OpenAI's shape."""

    error: ErrorDetail


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """How a route tells errors: a model of their bodies, and what makes an example and a status of one."""

    model: type[BaseModel]
    example: Callable[[BridgeError], dict[str, Any]]
    status: Callable[[BridgeError], int]


OPENAI = ErrorForm(Error, lambda error: error.body(), lambda error: error.status)

_ATTRIBUTE = "clawback_operation"

RUN_ERRORS: tuple[type[BridgeError], ...] = (Conflict, Gone, UnprocessableRun, TooManyRequests, Internal, Unavailable)
"""What a route may answer with that runs a chatflow."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One route.

    `body` and `query` are the models that check what comes in, `answer` is the one that shapes what goes out, in
    `media`; without it the answer has no body. `stream` is a model of the events that the route can answer with
    instead, and `stream_end` the text that follows the last of them. `errors` are those beyond what every route of its
    kind may answer with; `statuses` are answers other than 200 in the form of `answer`, `empty` those without a body.
    """

    summary: str
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: Any = None
    stream: Any = None
    stream_end: str | None = None
    media: str = "application/json"
    errors: tuple[type[BridgeError], ...] = ()
    error_form: ErrorForm = OPENAI
    statuses: tuple[int, ...] = (200,)
    empty: tuple[int, ...] = ()


def operation[View: Callable[..., Any]](summary: str, **said: Any) -> Callable[[View], View]:
    """Say of a view what the document tells of it: the fields of `Operation`."""

    def note(view: View) -> View:
        setattr(view, _ATTRIBUTE, Operation(summary, **said))
        return view

    return note


def operation_of(view: Callable[..., Any]) -> Operation | None:
    """Return what was said of a view."""
    return getattr(view, _ATTRIBUTE, None)
