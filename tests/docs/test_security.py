"""What the page on security says of tokens is what the bridge does."""

import re
from pathlib import Path

import pytest

from bridge.api.access import ROUTES
from bridge.config import Token

PAGE = (Path(__file__).parents[2] / "docs/discussion/security.md").read_text()
OPENS = dict(re.findall(r"^\| (\w+) \| ([^|]*`/[^|]*) \|", PAGE, re.MULTILINE))


def test_every_token_is_there() -> None:
    assert set(OPENS) == set(Token) - {Token.LOGIN}


@pytest.mark.parametrize("token", sorted(OPENS))
def test_a_token_opens_what_is_said_and_nothing_else(token: str) -> None:
    said = re.findall(r"`(/[^`]+)`", OPENS[token])
    opened = {route for route, keys in ROUTES.items() if token in keys}
    under = {prefix: [route for route in ROUTES if f"{route.split()[1]}/".startswith(f"{prefix}/")] for prefix in said}
    assert opened - {route for routes in under.values() for route in routes} == set()
    closed = {route for routes in under.values() for route in routes} - opened
    # With the local token one may look at what operators see, and no more.
    assert all(token == Token.LOCAL and route.startswith("POST /operator/") for route in closed), closed


def test_the_page_takes_the_operators_token_alone() -> None:
    assert "the page" in OPENS[Token.OPERATOR]
    assert sum("the page" in opens for opens in OPENS.values()) == 1
