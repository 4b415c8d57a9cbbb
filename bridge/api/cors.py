"""Pages of other origins, which may ask the endpoint only where the configuration names them; and the bridge's names.

A browser asks first (a preflight), and never with a token. Source: the Fetch standard, CORS protocol.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from flask import Flask, Request, Response, request

from bridge.config import Config
from bridge.errors import BridgeError, Forbidden

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


_LOCAL_NAMES = {"localhost", "localhost.localdomain"}


class Foreign(BridgeError):
    """The request came from another page, or to a name that is not the bridge's."""

    status = 403
    type = "invalid_request_error"
    code = "foreign_request"


class Origins:
    """Knows the names of the bridge."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def _names(self) -> set[str]:
        config = self._config
        given = [config.host, urlsplit(config.bridge_url or "").hostname or "", *config.page.hosts]
        return _LOCAL_NAMES | {name.lower().strip("[]") for name in given if name}

    def check_host(self, request: Request) -> None:
        """Refuse a foreign name: a page that lets its own name lead here could otherwise read what it is answered.

        An address is nobody's name, so any is taken.
        """
        host = _hostname(f"//{request.host}")
        if host not in self._names() and not host.endswith(".localhost") and not _is_address(host):
            raise Foreign(
                f"{host or 'this'} is not a name of this bridge. If it should be one, add it to page.hosts in the "
                "configuration",
                code="foreign_host",
            )

    def check_origin(self, request: Request) -> None:
        """Refuse what another page sends. Browsers name the origin of every form; what names none is no browser."""
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        own = origin is not None and _is_own(origin, request)
        # "none" is a request that the person made, a bookmark say; no form does that.
        if not own or site not in {None, "same-origin"}:
            raise Foreign("this form was not sent by the bridge's own page. Open the page, and try it there")

    def check_named(self, request: Request) -> None:
        """Refuse what a page of another origin sends, but for those of `cors_origins`; and a foreign name."""
        self.check_host(request)
        origin = request.headers.get("Origin")
        if origin is not None and not _is_own(origin, request) and origin not in self._config.cors_origins:
            raise Foreign(
                f"pages of {_hostname(origin) or 'this origin'} may not ask here; cors_origins in the configuration "
                "names those that may",
                code="foreign_origin",
            )


def _is_own(origin: str, request: Request) -> bool:
    try:
        named = urlsplit(origin)
    except ValueError:
        return False
    return named.netloc == request.host and named.scheme == request.scheme


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
