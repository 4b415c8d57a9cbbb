"""Each token opens what the table says, and nothing else: every route is tried with every token."""

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask

from bridge.api.access import ANYBODY, LOGIN_COOKIE, ROUTES, keys_of, path_of_rule
from bridge.api.openapi.document import routes
from bridge.app import create_app
from bridge.config import Token, parse
from bridge.page.logins import Login
from bridge.store.rows import ClientRow
from bridge.store.store import Store
from demo.service import Service
from tests.levels import starts
from tools.tokens import hash_token, new_token

BEARERS = [token for token in Token if token not in {Token.MCP, Token.LOCAL, Token.LOGIN}]
OWN_IDS = {"name": "page.css", "model": "m", "number": "0"}
OTHERWISE = {"POST /login", "POST /logout"}
"""They ask for a token in their form, and lead to the login."""


@dataclass
class Running:
    """A bridge in a process of its own, and the tokens that it knows."""

    url: str
    tokens: dict[Token, str]

    def ask(self, route: str, shown: Token | str) -> httpx.Response:
        """Ask for a route with this token, or with a text that is none."""
        method, path = route.split()
        path = re.sub(r"{(\w+)}", lambda found: OWN_IDS.get(found[1], "none"), path)
        bearer = self.tokens.get(shown, "") if isinstance(shown, Token) else shown
        headers = {"Origin": self.url} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
        body: dict[str, Any] = {} if method == "GET" else {"json": {}}
        with httpx.Client(base_url=self.url, headers=headers, timeout=30) as http:
            if shown is Token.LOGIN:
                login = self._log_in(http)
                body = {} if method == "GET" else {"data": {"form_token": login.form_token(path)}}
            # Its head says enough, and some answers have no end.
            with http.stream(method, path, **body) as answer:
                return answer

    def _log_in(self, http: httpx.Client) -> Login:
        http.post("/login", data={"name": "ada", "token": self.tokens[Token.OPERATOR]})
        return Login("ada", 0, http.cookies[LOGIN_COOKIE])


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    made = create_app(parse({"data_dir": str(tmp_path_factory.mktemp("routes"))}))
    yield made
    made.extensions["clawback"].sweeper.stop()


@pytest.fixture(scope="module")
@starts("parts")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    tokens: dict[Token, str] = {token: new_token(token) for token in BEARERS}
    config = folder / "clawback.toml"
    hashes = "".join(f'{token} = "{hash_token(value)}"\n' for token, value in tokens.items())
    config.write_text(f"port = 0\ndata_dir = {json.dumps(str(folder))}\n[tokens]\n{hashes}")
    tokens[Token.MCP] = new_token(Token.MCP)
    with closing(Store(f"sqlite:///{folder / 'bridge.sqlite3'}")) as store:
        store.clients.add(ClientRow("reader", hash_token(tokens[Token.MCP]), "[]", time.time(), kind="mcp"))
    command = [sys.executable, "-m", "bridge.cli", "serve", "--json", "--config", str(config)]
    service = Service("bridge", command, folder / "bridge.log")
    try:
        url = service.ready["bridge_url"]
        tokens[Token.LOCAL] = json.loads((folder / "serving.json").read_text())["token"]
        yield Running(url, tokens)
    finally:
        service.stop()


def is_refused(answer: httpx.Response) -> bool:
    """Say whether it was the token that did not do. The page sends who is not logged in to its login."""
    to_login = answer.status_code == 303 and answer.headers["location"].startswith("/login")
    return to_login or answer.status_code in {401, 403}


def test_no_route_is_forgotten_and_none_is_made_up(app: Flask) -> None:
    served = {f"{method} {path_of_rule(rule)}" for rule, method in routes(app)}
    assert served - set(ROUTES) == set(), "say in bridge.api.access who may ask for these routes"
    assert set(ROUTES) - served == set()


def test_a_route_that_was_forgotten_is_open_to_nobody(tmp_path: Path) -> None:
    tokens = dict.fromkeys(BEARERS, hash_token("t"))
    app = create_app(parse({"data_dir": str(tmp_path), "tokens": tokens}))
    app.add_url_rule("/operator/v1/forgotten", view_func=lambda: "secret")
    answer = app.test_client().get("/operator/v1/forgotten", headers={"Authorization": "Bearer t"})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (403, "forbidden")
    app.extensions["clawback"].sweeper.stop()


def test_the_methods_that_come_with_a_route_are_as_closed_as_that(app: Flask) -> None:
    for rule, method in routes(app):
        assert keys_of(rule, "OPTIONS") == keys_of(rule, method)
        if method == "GET":
            assert keys_of(rule, "HEAD") == keys_of(rule, method)


@pytest.mark.parametrize("route", [route for route in ROUTES if route not in OTHERWISE])
def test_a_route_is_opened_by_its_own_tokens_alone(running: Running, route: str) -> None:
    opened = {token for token in Token if not is_refused(running.ask(route, token))}
    assert opened == (set(Token) if ROUTES[route] == ANYBODY else set(ROUTES[route]))


@pytest.mark.parametrize("route", [route for route, keys in ROUTES.items() if keys != ANYBODY])
@pytest.mark.parametrize("shown", ["", "wrong", "clawback-client-", "sha256:", "null"])
def test_what_is_no_token_opens_nothing(running: Running, route: str, shown: str) -> None:
    assert is_refused(running.ask(route, shown))


def test_a_token_is_not_its_hash(running: Running) -> None:
    for token, value in running.tokens.items():
        for route, keys in ROUTES.items():
            if token in keys:
                assert is_refused(running.ask(route, hash_token(value)))


def test_no_token_decides_but_the_operators() -> None:
    deciding = {route for route in ROUTES if "/calls/" in route and route.startswith("POST")}
    assert {keys for route in deciding for keys in [ROUTES[route]]} == {(Token.OPERATOR,), (Token.LOGIN,)}


def test_no_results_are_taken_but_under_a_lease_or_in_a_clients_own_run() -> None:
    assert [route for route in ROUTES if route.endswith("/results")] == [
        "POST /executor/v1/executors/{executor_id}/results"
    ]
