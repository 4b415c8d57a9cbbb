"""What the endpoints answer: whole JSON bodies, to nobody but who knows the token.

Never a stream: Dify's daemon loses the end of an endpoint's streamed response.
"""

import hmac
import json
from collections.abc import Mapping
from typing import Any

from werkzeug import Request, Response

CALL_SECONDS = 240
"""How long Dify waits for a tool's next sign of life (DIFY_BACKWARDS_INVOCATION_READ_TIMEOUT)."""

TOTAL_SECONDS = 600
"""How long Dify lets an endpoint take in all (PLUGIN_MAX_EXECUTION_TIMEOUT)."""

_SCHEME = "Bearer "


def refusal(request: Request, settings: Mapping[str, Any]) -> Response | None:
    """Return the answer to somebody who does not show the token, or None: Dify lets everybody through."""
    token = str(settings.get("token") or "")
    shown = request.headers.get("Authorization", "").removeprefix(_SCHEME)
    if token and hmac.compare_digest(shown.encode(), token.encode()):
        return None
    return error(401, "unauthorized", "the token of the endpoint's settings is missing, or is another one")


def answer(body: Mapping[str, Any], status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(json.dumps(body, ensure_ascii=False), status=status, content_type="application/json")


def error(status: int, type_: str, message: str) -> Response:
    """Return the response of a request with which nothing was run."""
    return answer({"error": {"type": type_, "message": message}}, status)
