"""Who may ask for what: one table of every route and the tokens that open it.

From it the bridge checks requests, the OpenAPI document and the reference tell who may ask, and the tests try every
route with every token. A route that is not in it is open to nobody.
"""

import re
from collections.abc import Mapping

from flask import Flask, Request, g, request
from werkzeug.routing import Rule

from bridge.api.clients import DEFAULT, Clients
from bridge.config import Config, Plugin, Token
from bridge.errors import Forbidden, Unauthorized
from bridge.store.rows import ClientRow
from tools.tokens import matches

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
    own = sorted((rule.methods or set()) - _BY_ITSELF)
    return ROUTES.get(f"{own[0] if method in _BY_ITSELF and own else method} {path_of_rule(rule)}")


_BY_ITSELF = frozenset({"HEAD", "OPTIONS"})
"""The methods that Werkzeug adds to a route, which are opened by what opens that."""


def path_of_rule(rule: Rule) -> str:
    """Return a route's path as OpenAPI and the table write it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def protect(app: Flask, config: Config, clients: Clients) -> None:
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
            given = _tokens_in(request, keys)
            g.client, key = _client(clients, keys, given)
            g.shown, g.plugin = (key, _OPENS_ALL) if g.client else _shown(config, keys, given)
            g.clients = clients
            if g.client:
                clients.admit(g.client, asks=request.method == "POST")


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


def begin_turn() -> None:
    """Raise TooManyRequests where whoever asks has as many open tickets as it may."""
    if g.client:
        g.clients.check_tickets(g.client)


def may_ask(model: str) -> bool:
    """Whether whoever asks may ask this model."""
    client: ClientRow | None = g.client
    return client is None or client.may_ask(model)


def _client(clients: Clients, keys: Keys, given: list[str]) -> tuple[ClientRow | None, Token]:
    """Return the client that has shown a token of its own, where its kind may ask here."""
    client = clients.of(given) if not {Token.CLIENT, Token.MCP}.isdisjoint(keys) else None
    key = Token.MCP if client and client.kind == Token.MCP else Token.CLIENT
    return (client if key in keys else None), key


def _tokens_in(request: Request, keys: Keys) -> list[str]:
    """Return the request's bearer token and, where clients ask, what Anthropic's clients send in `x-api-key`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = [token if scheme.lower() == "bearer" else ""]
    if Token.CLIENT in keys:
        given.append(request.headers.get("x-api-key", ""))
    return [token.strip() for token in given if token.strip()]


def _shown(config: Config, keys: Keys, given: list[str]) -> tuple[Token, Plugin]:
    kept = [(hashed, key, _OPENS_ALL) for key in keys if (hashed := config.tokens.hash_of(key))]
    if Token.PLUGIN in keys:
        kept += [(plugin.token, Token.PLUGIN, plugin) for plugin in config.plugins]
    # Every hash is compared, so that the time taken does not tell which one a token is for.
    found = [(key, plugin) for token in given for hashed, key, plugin in kept if matches(token, hashed)]
    if found:
        return found[0]
    if keys == _MCP:
        raise Unauthorized(
            f"the token of an MCP client {'is not the right one' if given else 'is missing'}: send it as "
            "Authorization: Bearer <token>; `clawback token add NAME --mcp` makes one"
        )
    if keys == (Token.LOCAL,):
        raise Forbidden("this is for commands on the bridge's own machine, which show the token in its data folder")
    if all(key is Token.LOCAL for _, key, _ in kept):
        raise Unauthorized(f"this bridge has no {keys[0]} token yet: `clawback token {keys[0]}` makes one")
    missing = "is not the right one" if given else "is missing"
    other = ", or as x-api-key" if Token.CLIENT in keys else ""
    raise Unauthorized(f"the {keys[0]} token {missing}: send it as Authorization: Bearer <token>{other}")
