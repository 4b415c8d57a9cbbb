"""Login links, for a browser on the bridge's own machine: `clawback open` and the demo make them.

POST /operator/v1/login_links    {by}: a link that logs its first visitor in

A link is in this process's memory alone, as it is for one minute and one machine.
"""

import hashlib
import secrets
import time

from flask import Blueprint, Request, Response, request
from pydantic import BaseModel, ConfigDict, Field

from bridge.api.bodies import checked, json_answer, json_body
from bridge.api.openapi.operation import operation
from bridge.config import Config, is_loopback

LINK_SECONDS = 60.0
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


class LoginLinkRequest(BaseModel):
    """`by` is the name under which decisions are then written down."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(default="someone", min_length=1, max_length=100)


class LoginLink(BaseModel):
    """`path` leads to the page, once, until `expires_at`, in seconds since the epoch."""

    path: str
    expires_at: float


class Links:
    """The links that nobody has used yet."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[float, str]] = {}

    def make(self, name: str) -> LoginLink:
        """Make a link for whoever showed the operator's token."""
        now = time.time()
        self._names = {digest: kept for digest, kept in self._names.items() if kept[0] > now}
        secret, expires_at = secrets.token_urlsafe(32), now + LINK_SECONDS
        self._names[_digest(secret)] = (expires_at, name)
        return LoginLink(path=f"/login?link={secret}", expires_at=expires_at)

    def take(self, secret: str) -> str | None:
        """Return the name that the link was made for, and end the link; None where there is none such."""
        expires_at, name = self._names.pop(_digest(secret), (0.0, ""))
        return name if expires_at > time.time() else None


def is_here(asked: Request) -> bool:
    """Whether a request comes from this machine, and from no proxy or tunnel on it."""
    return is_loopback(asked.remote_addr or "") and not any(name in asked.headers for name in _FORWARDED)


def links_blueprint(config: Config, links: Links) -> Blueprint:
    """Return the blueprint for who opens the page from a terminal."""
    blueprint = Blueprint("login_links", __name__, url_prefix="/operator/v1")

    @blueprint.post("/login_links")
    @operation(
        "Make a link that logs in once, within a minute, from this machine.", body=LoginLinkRequest, answer=LoginLink
    )
    def make_link() -> Response:
        asked = checked(LoginLinkRequest, json_body(request, config.limits.request_bytes))
        return json_answer(links.make(asked.by))

    return blueprint


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
