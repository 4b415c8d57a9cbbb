"""Errors as Anthropic's servers send them, by what Claude Code does with each.

    400, 404, 413, 422     it stops; "prompt is too long: N tokens > M maximum" makes it compact its history
    401                    it would try again for over a minute, but for `x-should-retry: false`
    429, 529               it comes back when Retry-After says
    500                    it tries again, in growing steps

What it would repeat although that does not help (408, 409) is a 400 here. Source of the types: Anthropic's reference,
errors; of what is done with each: Claude Code 2.1.197.
"""

import re
from collections.abc import Mapping
from typing import Any

from flask import Request

from bridge.errors import BridgeError, Conflict, ContextTooLong, Gone, TooSlow, Unavailable
from bridge.runs import request_id

VERSION_HEADER = "anthropic-version"
OVERLOADED = 529

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    OVERLOADED: "overloaded_error",
}
_TOKENS = re.compile(r"(?<![\w.,-])(?:\d{4,}|\d{1,3}(?:,\d{3})+)(?![\w-])")
_COMES_BACK = (429, 500, OVERLOADED)


def speaks_anthropic(request: Request) -> bool:
    """Say whether the request is one to Anthropic's API."""
    return VERSION_HEADER in request.headers or request.path.startswith("/v1/messages")


def status_of(error: BridgeError) -> int:
    """Return the status by which a client does what helps."""
    if isinstance(error, Unavailable) or (isinstance(error, Gone) and error.code == "run_moved"):
        return OVERLOADED
    return 400 if isinstance(error, Conflict | TooSlow) else error.status


def headers_of(error: BridgeError) -> dict[str, str]:
    """Return the headers that tell a client whether to come back, and when."""
    own = error.headers() | {"request-id": request_id.current()}
    return own if helps_to_repeat(error) else own | {"x-should-retry": "false"}


def helps_to_repeat(error: BridgeError) -> bool:
    """Say whether the same request may go better in a while."""
    return status_of(error) in _COMES_BACK


def error_body(error: BridgeError) -> dict[str, Any]:
    """Return `{"type": "error", "error": {type, message, details}, "request_id"}`; `details` holds our own code."""
    kind = _TYPES.get(status_of(error), "invalid_request_error")
    known = {"error_code": error.code, "param": error.param}
    details = {name: value for name, value in known.items() if value}
    return {
        "type": "error",
        "error": {"type": kind, "message": error.message} | ({"details": details} if details else {}),
        "request_id": request_id.current(),
    }


def in_their_words(error: BridgeError, prompt_tokens: int, context_window: int) -> BridgeError:
    """Return the error in the words that make Claude Code compact its history, where the prompt is too long.

    The numbers are the upstream's where it says two, else the estimate and what the configuration says of the app.
    """
    if not isinstance(error, ContextTooLong) or error.message.startswith("prompt is too long"):
        return error
    said = sorted(int(number.replace(",", "")) for number in _TOKENS.findall(error.message)[:2])
    most, asked = (said[0], said[1]) if len(said) > 1 else (context_window, prompt_tokens)
    asked = max(asked, most + 1)
    return ContextTooLong(f"prompt is too long: {asked} tokens > {most} maximum ({error.message})", param=error.param)
