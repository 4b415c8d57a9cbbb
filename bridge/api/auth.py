"""Who is asking: each request shows a token that opens its route."""

from flask import Flask, Request, g, request

from bridge.api.access import Keys, keys_of
from bridge.config import Token, Tokens
from bridge.errors import Forbidden, Unauthorized
from tools.tokens import matches


def protect(app: Flask, tokens: Tokens) -> None:
    """Let through whoever shows a token that opens the route, as bridge.api.access says. The page sees to logins."""

    @app.before_request
    def _check() -> None:
        if request.url_rule is None:
            return
        keys = keys_of(request.url_rule, request.method)
        if keys is None:
            raise Forbidden(
                f"{request.method} {request.url_rule.rule} is open to nobody: bridge.access does not have it"
            )
        if keys and Token.LOGIN not in keys:
            g.shown = _shown(tokens, keys, _bearer(request))


def shown() -> Token:
    """Return the token that the request at hand has shown, where its route asks for one."""
    token: Token = g.shown
    return token


def _bearer(request: Request) -> str:
    """Return the request's bearer token, or an empty string."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _shown(tokens: Tokens, keys: Keys, token: str) -> Token:
    kept = {key: hashed for key in keys if (hashed := tokens.hash_of(key))}
    # Every hash is compared, so that the time taken does not tell which one a token is for.
    found = [key for key, hashed in kept.items() if matches(token, hashed)]
    if found:
        return found[0]
    if keys == (Token.LOCAL,):
        raise Forbidden("this is for commands on the bridge's own machine, which show the token in its data folder")
    if not kept.keys() - {Token.LOCAL}:
        raise Unauthorized(f"this bridge has no {keys[0]} token yet: `clawback token {keys[0]}` makes one")
    missing = "is missing" if not token else "is not the right one"
    raise Unauthorized(f"the {keys[0]} token {missing}: send it as Authorization: Bearer <token>")
