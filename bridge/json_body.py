"""Reads a request's JSON body within its limit."""

import json
from typing import Any

from flask import Request

from bridge.errors import InvalidRequest, TooLarge


def json_body(request: Request, limit: int) -> dict[str, Any]:
    """Return the body's object. Raises TooLarge or InvalidRequest."""
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"the body is larger than {limit} bytes (limits.request_bytes)")
    raw = request.stream.read(limit + 1)
    if len(raw) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes (limits.request_bytes)")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    return body
