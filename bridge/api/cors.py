"""Pages of other origins, which may ask the endpoint only where the configuration names them.

A browser asks first (a preflight), and never with a token. Source: the Fetch standard, CORS protocol.
"""

import re

from flask import Flask, Response, request

from bridge.config import Config
from bridge.errors import Forbidden

_SHOWN = "X-Request-Id, X-Clawback-Run, Retry-After"
_USUAL = "authorization, content-type"
_NAMES = re.compile(r"[A-Za-z0-9_-]+(\s*,\s*[A-Za-z0-9_-]+)*")


def allow_origins(app: Flask, config: Config) -> None:
    """Answer preflights, and name the origin in what it asked for. To be called before tokens are asked for."""

    def allowed() -> str | None:
        origin = request.headers.get("Origin")
        named = origin in config.cors_origins or "*" in config.cors_origins
        return origin if origin and named and request.path.startswith("/v1/") else None

    @app.before_request
    def _preflight() -> Response | None:
        asked = request.headers.get("Access-Control-Request-Method")
        if request.method != "OPTIONS" or not asked or "Origin" not in request.headers:
            return None
        if allowed() is None:
            raise Forbidden(
                "pages of this origin may not ask here; cors_origins in the configuration names those that may"
            )
        headers = request.headers.get("Access-Control-Request-Headers", "")
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE"
        response.headers["Access-Control-Allow-Headers"] = (
            headers if _NAMES.fullmatch(headers) else "authorization, content-type"
        )
        response.headers["Access-Control-Max-Age"] = "600"
        return response

    @app.after_request
    def _name_origin(response: Response) -> Response:
        if config.cors_origins:
            response.headers.add("Vary", "Origin")
        if origin := allowed():
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _SHOWN
        return response
