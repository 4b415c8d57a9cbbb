"""Two bridges on one PostgreSQL show the same page, to whoever logged in at one of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.app import create_app
from bridge.config import parse
from tests.bridge.executor.conftest import READ, Bridge
from tests.levels import starts
from tests.page.conftest import Person, words
from tests.servers import Servers
from tools.tokens import hash_token, new_token
from tools.wire import ModelCall, Usage

pytestmark = pytest.mark.servers


@pytest.fixture
@starts("parts")
def bridges(tmp_path: Path) -> Iterator[list[Bridge]]:
    tokens = {audience: new_token(audience) for audience in ("client", "plugin", "executor", "operator")}
    hashes = {audience: hash_token(token) for audience, token in tokens.items()}
    with Servers() as servers:
        values = {"tokens": hashes, "log_content": True, "database_url": servers.database_url()}
        configs = [parse(values | {"data_dir": str(tmp_path / name)}) for name in "ab"]
        started = [Bridge(create_app(config), config, tokens) for config in configs]
        yield started
        for bridge in started:
            bridge.stop()


def test_the_page_is_the_same_at_both(bridges: list[Bridge]) -> None:
    here, there = bridges
    ann, guest = Person(here), Person(there)
    ann.log_in()
    cookie = ann.client.get_cookie("clawback_login")
    assert cookie
    guest.client.set_cookie("clawback_login", cookie.value)
    executor = here.register(tools=[READ, {"type": "function", "function": {"name": "exec"}}])
    ticket = here.open(("read", '{"path": "Größe"}'), ("exec", "{}"))
    run = ticket.request["run_id"]
    [call] = executor.claim()
    executor.post(call, "a result")
    there.store.nodes.started(run, 1, "e", "Think", "llm")
    for query in ("", "?state=undecided", "?tool=EXEC", "?text=RESULT", "?text=think&tool=read", "?text=größe"):
        assert f'href="/runs/{run}"' in guest.get(f"/{query}").text, query
    assert f'href="/runs/{run}"' not in guest.get("/?text=elsewhere").text
    told = ModelCall(
        number=0, round=0, seconds=1, usage=Usage(prompt_tokens=1000, completion_tokens=20), finish_reason="stop"
    )
    here.core.services.note_model_calls(run, ticket.request["invocation_id"], [told])
    assert "1.0 s · 1 000 → to 20 · final answer" in words(ann.get(f"/runs/{run}").text)
    for query in ("?longer=0&within=hour", "?tokens=1"):
        assert (f'href="/runs/{run}"' in guest.get(f"/{query}").text) == ("longer" in query), query
    assert "Dify app 1 0" in words(guest.get("/statistics").text)
    assert "llm Think" in words(ann.get(f"/runs/{run}").text)
    action = f"/calls/{ticket.calls[1]}/decision"
    assert guest.send("/approvals", action, decision="deny", text="no", back=f"/runs/{run}").status_code == 303
    assert "exec denied" in words(ann.get(f"/runs/{run}").text)
    guest.send("/", "/logout")
    assert ann.get("/").status_code == 303
