"""Reads a request's JSON body within its limits."""

from collections.abc import Iterator
from typing import Any

from flask import Request, g

from bridge.api import json_pieces
from bridge.errors import InvalidRequest, TooLarge
from bridge.runs.breath import breathe, in_pieces
from tools.halves import whole
from tools.json_depth import DEEPEST


def json_body(request: Request, limit: int) -> dict[str, Any]:
    """Return the body's object. Raises TooLarge or InvalidRequest.

    Half of a surrogate pair, which clients leave behind when they cut a text amid an emoji, becomes U+FFFD: JSON can
    name it, and no text can hold it. What was read is `g.json_body` from then on: a body can be read only once.
    """
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"the body is larger than {limit} bytes (limits.request_bytes)")
    raw = request.stream.read(limit + 1)
    if len(raw) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes (limits.request_bytes)")
    breathe()
    try:
        body = json_pieces.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    if _depth(body) > DEEPEST:
        raise InvalidRequest(f"the body is nested deeper than {DEEPEST} levels", code="invalid_json")
    read: dict[str, Any] = _whole(body) if b"\\ud" in raw.lower() else body
    g.json_body = read
    breathe()
    return read


def _depth(body: object) -> int:
    level, depth = [body], 0
    while level and depth <= DEEPEST:
        depth += 1
        children = (child for value in level for child in _children(value))
        level = [child for child in in_pieces(children) if isinstance(child, dict | list)]
    return depth


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    """Return `body` without halves of surrogate pairs."""
    return {
        whole(name): [whole(item) for item in in_pieces(value)] if isinstance(value, list) else whole(value)
        for name, value in body.items()
    }
