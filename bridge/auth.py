"""Who may call: one bearer token an audience."""

from collections.abc import Callable

from flask import Request

from bridge.config import Tokens
from bridge.errors import Unauthorized
from bridge.tokens import matches


def bearer(request: Request) -> str:
    """Return the request's bearer token, or an empty string."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def guard(tokens: Tokens, *audiences: str, local: bool = False) -> Callable[[Request], None]:
    """Return a check that lets through whoever holds the token of one of `audiences`.

    Where clients may go, and where `local` says so, commands on this machine may too: they show the token that the
    running bridge made for them.
    """

    def check(request: Request) -> None:
        token = bearer(request)
        if (local or "client" in audiences) and tokens.is_local(token):
            return
        kept = [hashed for audience in audiences if (hashed := getattr(tokens, audience))]
        if not kept:
            raise Unauthorized(
                f"this bridge has no {audiences[0]} token yet: `clawback token {audiences[0]}` makes one"
            )
        # Every hash is compared, so that the time taken does not tell which audience a token is for.
        if not any([matches(token, hashed) for hashed in kept]):  # noqa: C419
            missing = "is missing" if not token else "is not the right one"
            raise Unauthorized(f"the {audiences[0]} token {missing}: send it as Authorization: Bearer <token>")

    return check
