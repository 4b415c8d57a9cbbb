"""Who may ask: which token opens which route, what each client with a token of its own may ask, and whose pages may.

A browser asks first (a preflight), and never with a token. Source: the Fetch standard, CORS protocol.
"""

import ipaddress
import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hmac import compare_digest
from urllib.parse import urlsplit

from flask import Flask, Request, Response, g, request
from werkzeug.routing import Rule

from bridge.api.quotas import count_request, used_up
from bridge.config import Config, Plugin, Token, Tokens
from bridge.errors import BridgeError, Forbidden, Unauthorized
from bridge.store.faults import StoreUnavailable
from bridge.store.rows import ClientRow
from bridge.store.store import Store
from tools.tokens import hash_token

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
            raise Forbidden("pages of this origin may not use the bridge; to allow them, add it to cors_origins")
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
                f"pages of {_hostname(origin) or 'this origin'} may not use the bridge; to allow them, add it to "
                "cors_origins in the configuration",
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


DEFAULT = "default"
"""The client with the token of the configuration."""

RESERVED = frozenset({DEFAULT, "local", ""})
KNOWN_SECONDS = 2.0
"""For so long after it was revoked, a token may still be taken."""


class Clients:
    """Who they are by their tokens. Requests are counted by each process on its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[float, ClientRow | None]] = {}
        self._asked: dict[str, deque[float]] = {}

    def of(self, hashes: Sequence[str]) -> ClientRow | None:
        """Return the client with one of these tokens' hashes, None where they are no client's of its own."""
        return next((client for hashed in hashes if (client := self._with(hashed))), None)

    def _with(self, hashed: str) -> ClientRow | None:
        now = time.monotonic()
        read_at, client = self._known.get(hashed, (-KNOWN_SECONDS, None))
        if now - read_at >= KNOWN_SECONDS:
            if len(self._known) > 1000:
                self._known.clear()
            client = self._store.clients.with_hash(hashed)
            self._known[hashed] = (now, client)
        return client

    def is_known(self, client: ClientRow) -> bool:
        """Whether a client's token is still valid."""
        return self._with(client.token_hash) is not None

    def admit(self, client: ClientRow, *, asks: bool) -> None:
        """Note that a client is here, and what it asks for. Raises TooManyRequests."""
        self._store.clients.used(client)
        if not asks:
            return
        self._check_rate(client)
        if client.tokens_per_day is not None:
            spent = self._store.clients.spent_today(client.name)
            if spent >= client.tokens_per_day:
                raise used_up(f"client {client.name}", spent, client.tokens_per_day)

    def _check_rate(self, client: ClientRow) -> None:
        if client.requests_per_minute is not None:
            asked = self._asked.setdefault(client.name, deque())
            count_request(asked, client.requests_per_minute, f"client {client.name} may send {{}} requests a minute")


LOGIN_COOKIE = "clawback_login"
"""The name of the cookie of somebody who has logged in to the page."""

Keys = tuple[Token, ...]
"""What opens a route: any one of them."""

ANYBODY: Keys = ()
"""No token is asked for."""

_CLIENT = (Token.CLIENT,)
_ASKS = (Token.CLIENT, Token.LOCAL)
_PLUGIN = (Token.PLUGIN,)
_EXECUTOR = (Token.EXECUTOR,)
_MCP = (Token.MCP,)
_LOOKS = (Token.OPERATOR, Token.LOCAL)
_DECIDES = (Token.OPERATOR,)
_PAGE = (Token.LOGIN,)

_OPENS_ALL = Plugin.model_construct(name="", token="")
"""What the plugin's token at the top of the configuration opens."""

ROUTES: Mapping[str, Keys] = {
    # Clients ask, and answer calls of their own runs. Commands on this machine ask, in runs of their own.
    "GET /v1/models": _ASKS,
    "GET /v1/models/{model}": _ASKS,
    "POST /v1/chat/completions": _ASKS,
    "POST /v1/responses": _CLIENT,
    "POST /v1/responses/input_tokens": _CLIENT,
    "GET /v1/responses/{response_id}": _CLIENT,
    "DELETE /v1/responses/{response_id}": _CLIENT,
    "POST /v1/responses/{response_id}/cancel": _CLIENT,
    "GET /v1/responses/{response_id}/input_items": _CLIENT,
    "POST /v1/messages": _CLIENT,
    "POST /v1/messages/count_tokens": _CLIENT,
    # The plugin opens tickets and waits for them.
    "GET /plugin/v1/ping": _PLUGIN,
    "POST /plugin/v1/attach": _PLUGIN,
    "PUT /plugin/v1/tickets/{ticket_id}": _PLUGIN,
    "GET /plugin/v1/tickets/{ticket_id}": _PLUGIN,
    "POST /plugin/v1/tickets/{ticket_id}/cancel": _PLUGIN,
    "POST /plugin/v1/tickets/{ticket_id}/suspend": _PLUGIN,
    "POST /plugin/v1/tickets/{ticket_id}/expire": _PLUGIN,
    "POST /plugin/v1/invocations/{invocation_id}/drafts": _PLUGIN,
    "POST /plugin/v1/invocations/{invocation_id}/beat": _PLUGIN,
    "POST /plugin/v1/invocations/{invocation_id}/record": _PLUGIN,
    # Executors run calls, and answer them under their leases.
    "POST /executor/v1/executors": _EXECUTOR,
    "POST /executor/v1/executors/{executor_id}/heartbeat": _EXECUTOR,
    "POST /executor/v1/executors/{executor_id}/claim": _EXECUTOR,
    "POST /executor/v1/executors/{executor_id}/extend": _EXECUTOR,
    "POST /executor/v1/executors/{executor_id}/results": _EXECUTOR,
    "POST /executor/v1/executors/{executor_id}/let_go": _EXECUTOR,
    "DELETE /executor/v1/executors/{executor_id}": _EXECUTOR,
    "GET /executor/v1/tickets/{ticket_id}": _EXECUTOR,
    # MCP clients are offered the executors' tools, and call them.
    "POST /mcp": _MCP,
    "GET /mcp": _MCP,
    # Operators look and decide. Commands on this machine look: what a model runs there could be one of them.
    "GET /operator/v1/tickets": _LOOKS,
    "GET /operator/v1/tickets/{ticket_id}": _LOOKS,
    "GET /operator/v1/approvals": _LOOKS,
    "GET /operator/v1/executors": _LOOKS,
    "GET /operator/v1/runs": _LOOKS,
    "GET /operator/v1/runs/{run_id}": _LOOKS,
    "GET /operator/v1/runs/{run_id}/events": _LOOKS,
    "POST /operator/v1/runs/{run_id}/cancel": _DECIDES,
    "POST /operator/v1/runs/{run_id}/again": _DECIDES,
    "GET /operator/v1/status": _LOOKS,
    "GET /operator/v1/changes": _LOOKS,
    "POST /operator/v1/calls/{call_id}/approve": _DECIDES,
    "POST /operator/v1/calls/{call_id}/deny": _DECIDES,
    "GET /operator/v1/forms": _LOOKS,
    "POST /operator/v1/forms/{form_id}/answer": _DECIDES,
    "POST /operator/v1/login_links": _DECIDES,
    # Figures, never open to all: a request from this machine's own address may be a tunnel's or a proxy's.
    "GET /metrics": (Token.METRICS, Token.OPERATOR, Token.LOCAL),
    "GET /doctor/v1/visits": (Token.LOCAL,),
    # Whether it lives, and what it serves: nothing of its apps, its runs or its tokens.
    "GET /healthz": ANYBODY,
    "GET /readyz": ANYBODY,
    "GET /openapi.json": ANYBODY,
    # The web page. Its forms hold a token of their own each (bridge.page.logins), and come from its own address.
    "GET /": _PAGE,
    "GET /runs/{run_id}": _PAGE,
    "GET /runs/{run_id}/json": _PAGE,
    "POST /runs": _PAGE,
    "GET /try": _PAGE,
    "POST /try": _PAGE,
    "GET /try/{trial_id}": _PAGE,
    "GET /approvals": _PAGE,
    "GET /statistics": _PAGE,
    "GET /executors": _PAGE,
    "GET /health": _PAGE,
    "POST /health": _PAGE,
    "GET /calls/{call_id}/decision": _PAGE,
    "GET /calls/{call_id}/images/{number}": _PAGE,
    "POST /calls/{call_id}/decision": _PAGE,
    "GET /forms/{form_id}/answer": _PAGE,
    "POST /forms/{form_id}/answer": _PAGE,
    "POST /logout": _PAGE,
    "GET /login": ANYBODY,
    "POST /login": ANYBODY,
    "POST /preferences": ANYBODY,
    "GET /page/{name}": ANYBODY,
}


def keys_of(rule: Rule, method: str) -> Keys | None:
    """Return what opens a route, or None where the table has forgotten it."""
    if method in _BY_ITSELF:
        method = min((rule.methods or set()) - _BY_ITSELF, default=method)
    return ROUTES.get(f"{method} {path_of_rule(rule)}")


_BY_ITSELF = frozenset({"HEAD", "OPTIONS"})
"""The methods that Werkzeug adds to a route, which are opened by what opens that."""


def path_of_rule(rule: Rule) -> str:
    """Return a route's path as OpenAPI and the table write it."""
    return _path(rule.rule)


@cache
def _path(rule: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def protect(app: Flask, config: Config, clients: Clients) -> None:
    """Let through whoever shows a token that opens the route, as bridge.api.access says. The page sees to logins."""

    @app.before_request
    def _check() -> None:
        if request.url_rule is None:
            return
        keys = keys_of(request.url_rule, request.method)
        if keys is None:
            raise Forbidden(
                f"{request.method} {request.url_rule.rule} is open to nobody: bridge.api.access does not list it"
            )
        if keys and Token.LOGIN not in keys:
            given = _hashes_in(request, keys)
            g.client, g.shown, g.plugin = _who(config, clients, keys, given)
            g.clients, g.tokens = clients, config.tokens
            if g.client:
                clients.admit(g.client, asks=request.method == "POST")


def validity() -> Callable[[], None]:
    """Return what raises Unauthorized once the token of the request at hand is no longer valid.

    It was revoked, it has expired, or the configuration has another one. To be asked amid what lasts.
    """
    clients: Clients = g.clients
    tokens: Tokens = g.tokens
    client: ClientRow | None = g.client
    shown: Token = g.shown
    hashed = tokens.hash_of(shown)

    def check() -> None:
        # Where the store does not tell, it is as it was.
        with suppress(StoreUnavailable):
            if not (clients.is_known(client) if client else tokens.hash_of(shown) == hashed):
                raise Unauthorized(
                    "the token is no longer valid: it was revoked, it has expired, or the bridge's configuration has "
                    "another one. What was asked with it ends"
                )

    return check


def executor_name() -> str | None:
    """Return the only name that the executor which asks may have, where it has a token of its own."""
    client: ClientRow | None = g.client
    return client.name if client else None


def executor_tools() -> list[str]:
    """Return the patterns of the tools that the executor which asks may offer."""
    client: ClientRow | None = g.client
    return json.loads(client.tools) if client and client.tools else ["*"]


def shown() -> Token:
    """Return the token that the request at hand has shown, where its route asks for one."""
    token: Token = g.shown
    return token


def plugin() -> Plugin:
    """Return what the token opens that the plugin has shown."""
    entry: Plugin = g.plugin
    return entry


def client_name() -> str:
    """Return who asks: a client's name, `default` for the token of the configuration, `local` for commands here."""
    client: ClientRow | None = g.client
    if client:
        return client.name
    return DEFAULT if g.shown == Token.CLIENT else str(g.shown)


def client_row() -> ClientRow | None:
    """Return the client that asks with a token of its own."""
    client: ClientRow | None = g.client
    return client


def may_ask(model: str) -> bool:
    """Whether whoever asks may ask this model."""
    client: ClientRow | None = g.client
    return client is None or client.may_ask(model)


def _who(config: Config, clients: Clients, keys: Keys, given: list[str]) -> tuple[ClientRow | None, Token, Plugin]:
    """Return the client that has shown a token of its own, where its kind may ask here; else what was shown.

    `given` are hashes. Raises Unauthorized.
    """
    kept = [(hashed, key, _OPENS_ALL) for key in keys if (hashed := config.tokens.hash_of(key))]
    if Token.PLUGIN in keys:
        kept += [(plugin.token, Token.PLUGIN, plugin) for plugin in config.plugins]
    # Every hash is compared, so that the time taken does not tell which one a token is for.
    found = [(key, plugin) for its in given for hashed, key, plugin in kept if compare_digest(its, hashed)]
    if found:
        return None, *found[0]
    client = clients.of(given) if not _OWN.isdisjoint(keys) else None
    if client and (key := Token(client.kind or Token.CLIENT)) in keys:
        return client, key, _OPENS_ALL
    raise _refusal(keys, given, has_others=any(key is not Token.LOCAL for _, key, _ in kept))


_OWN = frozenset({Token.CLIENT, Token.MCP, Token.EXECUTOR})
"""The kinds of those that may have tokens of their own."""


def _hashes_in(request: Request, keys: Keys) -> list[str]:
    """Return the hash of the bearer token and, where clients ask, of what Anthropic's clients send in `x-api-key`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = [token if scheme.lower() == "bearer" else ""]
    if Token.CLIENT in keys:
        given.append(request.headers.get("x-api-key", ""))
    return [hash_token(token.strip()) for token in given if token.strip()]


def _refusal(keys: Keys, given: list[str], *, has_others: bool) -> BridgeError:
    """Return what is said to who has shown nothing that opens these; whether there are tokens but the local one."""
    if keys == _MCP:
        return Unauthorized(
            f"the token of an MCP client {'is not the right one' if given else 'is missing'}: send it as "
            "Authorization: Bearer <token>; `clawback token add NAME --mcp` makes one"
        )
    if keys == (Token.LOCAL,):
        return Forbidden("this is for commands on the bridge's own machine, which show the token in its data folder")
    if not has_others:
        return Unauthorized(f"this bridge has no {keys[0]} token yet: `clawback token {keys[0]}` makes one")
    missing = "is not the right one" if given else "is missing"
    other = ", or as x-api-key" if Token.CLIENT in keys else ""
    return Unauthorized(f"the {keys[0]} token {missing}: send it as Authorization: Bearer <token>{other}")
