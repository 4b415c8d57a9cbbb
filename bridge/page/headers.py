"""What every answer says to the browser, and which requests only the page itself may make."""

import ipaddress
from urllib.parse import urlsplit

from flask import Request, Response

from bridge.config import Config
from bridge.errors import BridgeError

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types clawback",
    ]
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Nobody else is told; "no-referrer" would also take away the origin that forms have to name.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def protect(response: Response) -> Response:
    """Let the browser run nothing foreign, show the page in no frame, and keep nothing of it."""
    response.headers.extend(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.add("Vary", "Accept, Accept-Language, Cookie")
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
        own = (
            origin is not None and urlsplit(origin).netloc == request.host and urlsplit(origin).scheme == request.scheme
        )
        # "none" is a request that the person made, a bookmark say; no form does that.
        if not own or site not in {None, "same-origin"}:
            raise Foreign("this form was not sent by the bridge's own page. Open the page, and try it there")


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
