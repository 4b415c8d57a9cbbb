"""A bridge, and somebody who looks at its page without a browser."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.bridge.executor.conftest import Bridge, MakeBridge, make_bridge

__all__ = ["make_bridge"]

ASK = '[[rules]]\naction = "ask"\n'
ORIGIN = "http://localhost"


class Person:
    """Somebody with a browser of their own; `told` is what it sends with everything."""

    def __init__(self, bridge: Bridge, **told: str) -> None:
        self.bridge = bridge
        self.client = bridge.app.test_client()
        self.told = told

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers=self.told | headers)

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> TestResponse:
        return self.client.post(path, data=form, headers={"Origin": ORIGIN} | self.told | headers)

    def log_in(self, name: str = "ann", token: str | None = None, **more: str) -> TestResponse:
        form = {"token": self.bridge.tokens["operator"] if token is None else token, "name": name, **more}
        return self.post("/login", form)

    def send(self, page: str, action: str, **form: str) -> TestResponse:
        """Fill in a form of a page, as a browser does."""
        return self.post(action, {"form_token": form_token(self.get(page).text, action), **form})


def form_token(page: str, action: str) -> str:
    found = re.search(rf'action="{re.escape(action)}".*?name="form_token" value="(\w+)"', page, re.DOTALL)
    assert found, f"no form for {action} in {page}"
    return found[1]


def words(page: str) -> str:
    """What somebody reads on a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture
def bridge(make_bridge: MakeBridge) -> Bridge:
    """A bridge that leaves every call to a person."""
    return make_bridge(ASK)


@pytest.fixture
def ann(bridge: Bridge) -> Person:
    """Somebody who is logged in."""
    person = Person(bridge)
    assert person.log_in().status_code == 303
    return person


MakePerson = Callable[..., Person]


@pytest.fixture
def visit() -> MakePerson:
    """Let somebody log in at a bridge."""

    def log_in(bridge: Bridge, **told: Any) -> Person:
        person = Person(bridge, **told)
        assert person.log_in().status_code == 303
        return person

    return log_in
