"""What a node asked of its model: each try, what was sent, what came of it, what it cost."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from demo.client import Client
from demo.local_tools import LocalTools
from demo.stack import Stack
from tests.bridge.executor.conftest import MakeBridge
from tests.e2e.conftest import call
from tests.page.conftest import MakePerson, words

pytestmark = pytest.mark.parts

ASK = "What did Ada find?"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("calls")
    prices = {"input_price": "1000", "output_price": "2000", "price_currency": "EUR"}
    with Stack(folder, apps=["minimal"], bridge_keys={"log_content": True}, credentials=prices) as running:
        yield running


@pytest.fixture(scope="module")
def run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of two rounds, of which the second is refused once."""
    tools = LocalTools(tmp_path_factory.mktemp("tools"))
    client = Client(stack.base_url, stack.client_token, "minimal", tools, session="model-calls")
    told = [ASK, call("exec", command="echo a comet"), "!then", "!error 503", "!say A comet."]
    outcome = client.ask("\n".join(told))
    client.close()
    assert outcome.reply.text == "A comet."
    return outcome.runs[0]


def document(stack: Stack, run: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    answer: dict[str, Any] = httpx.get(f"{stack.bridge_url}/operator/v1/runs/{run}", headers=headers).json()
    return answer


def test_each_try_is_told_with_its_tokens_and_its_end(stack: Stack, run: str) -> None:
    first, refused, last = document(stack, run)["model_calls"]
    assert [each["number"] for each in (first, refused, last)] == [0, 1, 2]
    assert [each["round"] for each in (first, refused, last)] == [0, 1, 1]
    assert (first["finish_reason"], refused["finish_reason"], last["finish_reason"]) == ("tool_calls", "", "stop")
    assert refused["status"] == 503
    assert refused["error"]
    assert refused["prompt_tokens"] is None
    assert first["prompt_tokens"] > 0
    assert last["completion_tokens"] > 0
    assert refused["price"] == ""
    for each in (first, last):
        price = Decimal(each["prompt_tokens"] + 2 * each["completion_tokens"]) / 1000
        assert each["price"] == f"{price.normalize():f} EUR"
    ends = [each["at"] + each["seconds"] for each in (first, refused)]
    assert ends[0] <= refused["at"] + 0.05
    assert ends[1] <= last["at"] + 0.05


def test_what_was_sent_is_told_once(stack: Stack, run: str) -> None:
    first, refused, last = (json.loads(each["request"]) for each in document(stack, run)["model_calls"])
    assert first["model"] == "scripted"
    # The node's own prompt goes along, and what the client said stands in its place.
    assert first["messages"][0]["role"] == "system"
    assert ASK in json.dumps(first["messages"][-1])
    assert "exec" in [tool["function"]["name"] for tool in first["tools"]]
    assert [message["role"] for message in refused["messages"]] == ["assistant", "tool"]
    assert "a comet" in refused["messages"][1]["content"]
    assert "tools" not in refused
    assert last["messages"] == []
    assert [each["before"] for each in document(stack, run)["model_calls"]] == [0, len(first["messages"]), 4]
    # In the store, the client's own words stand with its request alone.
    with stack.store().watching() as connection:
        kept = connection.exec_driver_sql(
            "SELECT request FROM model_calls WHERE run_id = ? AND number = 0", (run,)
        ).scalar_one()
    assert ASK not in kept


def test_the_page_shows_it(stack: Stack, run: str) -> None:
    with httpx.Client(base_url=stack.bridge_url, follow_redirects=True) as browser:
        headers = {"Origin": stack.bridge_url}
        browser.post("/login", data={"token": stack.operator_token, "name": "ann"}, headers=headers)
        page = browser.get(f"/runs/{run}").text
    said = words(page)
    assert said.count("What was sent") == 3
    assert page.count('class="step model') == 3
    assert page.count('class="step model bad') == 1
    assert page.count('class="lane model') == 3
    assert "2 messages before these" in said
    prices = [call["price"] for call in document(stack, run)["model_calls"] if call["price"]]
    # Beside its call in the timeline, and among the steps.
    assert [page.count(f" · {price}") for price in prices] == [2, 2]
    whole = sum(Decimal(price.split()[0]) for price in prices)
    assert f"Costs {whole.normalize():f} EUR" in said
    assert page.count(ASK) >= 2


def test_without_log_content_nothing_of_it_is_kept(make_bridge: MakeBridge, visit: MakePerson) -> None:
    bridge = make_bridge('[[rules]]\naction = "allow"\n', log_content=False)
    bridge.register()
    attached = bridge.attach()
    assert attached["shown"] is False
    told = {"number": 0, "round": 0, "seconds": 1.5, "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    told |= {
        "price": "cheap",
        "finish_reason": "stop",
        "request": {"model": "up", "messages": [{"role": "user", "content": "secret"}]},
    }
    path = f"/invocations/{attached['invocation_id']}/record"
    request = {"run_id": attached["run_id"], "text": "Done.", "model_calls": [told]}
    for _ in range(2):
        assert bridge.ask("plugin", "POST", path, request).status == 204
    [kept] = bridge.store.model_calls.of_run(attached["run_id"])
    assert (kept.request, kept.prompt_tokens, kept.seconds, kept.price) == (None, 7, 1.5, "")
    page = visit(bridge).get(f"/runs/{attached['run_id']}").text
    assert "secret" not in page
    assert 'class="step model good' in page
