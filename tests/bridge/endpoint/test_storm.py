"""Thousands of malformed and odd bodies: each is refused by name or taken, and a ticket outlives them all.

`CLAWBACK_ODD_BODIES=20000` tries so many.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge.api.openapi.document import EXAMPLES
from bridge.app import create_app
from bridge.config import parse
from bridge.runs.requests import RunRequest
from bridge.store.rows import RunRow
from tools.results import ToolResult
from tools.tokens import hash_token

BODIES = int(os.environ.get("CLAWBACK_ODD_BODIES", "1000"))
TOKEN = {"Authorization": "Bearer t"}
CALL = {"id": "call0000000001", "name": "read", "arguments": "{}"}
NOWHERE = "http://127.0.0.1:9/v1"

odd = settings(
    max_examples=BODIES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    report_multiple_bugs=False,
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """A bridge whose Dify does not answer, so that what is taken ends at once."""
    app = create_app(
        parse(
            {
                "data_dir": str(tmp_path_factory.mktemp("storm")),
                "tokens": dict.fromkeys(("client", "plugin", "executor", "operator"), hash_token("t")),
                "apps": [{"model": "m", "base_url": NOWHERE, "api_key": "app-x"}],
                "limits": {"first_event_seconds": 5},
            }
        )
    )
    yield app.test_client()
    app.extensions["clawback"].sweeper.stop()


@pytest.fixture(scope="module", autouse=True)
def ticket(client: FlaskClient) -> Iterator[str]:
    """A ticket that is open before the storm, and is answered after it."""
    now = 2_000_000_000.0
    core = client.application.extensions["clawback"]
    request = RunRequest(messages=[{"role": "user", "content": "hi"}], turn=0, query="hi").model_dump_json()
    run = RunRow("run1", "m", "s", "t", "user", "", "q", None, "running", 1, "", "", request, None, now, now, now * 2)
    core.store.insert_run(run)
    attach = EXAMPLES["AttachRequest"] | {"user": "user"}
    assert client.post("/plugin/v1/attach", json=attach, headers=TOKEN).get_json()["run_id"] == "run1"
    opened = EXAMPLES["TicketRequest"] | {"run_id": "run1", "calls": [CALL]}
    answer = client.put("/plugin/v1/tickets/ticket1", json=opened, headers=TOKEN)
    assert answer.get_json()["state"] == "open"
    yield "ticket1"
    client.application.extensions["clawback"].tickets.add_results(
        "ticket1", [ToolResult(tool_call_id=CALL["id"], output="still here")]
    )
    status = client.get("/plugin/v1/tickets/ticket1", headers=TOKEN).get_json()
    assert (status["state"], status["results"][0]["output"]) == ("resolved", "still here")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": CALL}]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "y"},
    ],
    "tools": [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "read"}}]},
    },
    "functions": [{"name": "f"}],
    "function_call": {"name": "f"},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "stop": ["x"],
    "temperature": 0.5,
    "max_completion_tokens": 100,
    "n": 1,
    "modalities": ["text"],
    "metadata": {"a": "b"},
    "inputs": {"a": 1},
    "tool_results": [{"tool_call_id": "c", "output": [{"type": "text", "text": "x"}]}],
    "tool_call_mode": "structured",
    "user": "u",
}
RESPONSES: dict[str, Any] = {
    "model": "m",
    "input": [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "https://x"}],
        },
        {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
        {"type": "reasoning", "id": "rs_1"},
        {"type": "item_reference", "id": "msg_1"},
    ],
    "instructions": "Be brief.",
    "previous_response_id": "resp_1",
    "tools": [{"type": "function", "name": "read", "parameters": {}}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "read"}]},
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {}}, "verbosity": "low"},
    "reasoning": {"effort": "low"},
    "metadata": {"a": "b"},
    "stream": True,
    "store": True,
    "background": False,
    "max_output_tokens": 50,
    "conversation": None,
}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a body."""
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


def damaged(body: dict[str, Any], damages: list[tuple[tuple[Any, ...], Any]]) -> dict[str, Any]:
    """The body with other values in some places; `...` takes the place away."""
    made = json.loads(json.dumps(body))
    for path, value in damages:
        parent = made
        for step in path[:-1]:
            try:
                parent = parent[step]
            except (KeyError, IndexError, TypeError):
                parent = None
        try:
            if value is ...:
                del parent[path[-1]]
            else:
                parent[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    return made


def damages(body: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    places = st.sampled_from(list(paths(body)))
    one = st.tuples(places, st.just(...) | JSON)
    least = st.lists(one, min_size=1, max_size=4).map(lambda some: damaged(body, some))
    few = st.lists(st.sampled_from(list(body)), unique=True).map(lambda keys: {key: body[key] for key in keys})
    return least | st.tuples(few, st.lists(one, max_size=3)).map(lambda pair: damaged(*pair))


def ask(client: FlaskClient, path: str, body: Any) -> None:
    answer = client.post(path, data=json.dumps(body), content_type="application/json", headers=TOKEN)
    text = answer.get_data(as_text=True)
    if answer.status_code == 200:
        # It began as a stream, and says how it ended.
        assert '"error"' in text
        return
    error = json.loads(text)["error"]
    assert answer.status_code in {400, 404, 409, 410, 422, 503}, error
    assert error["message"]
    if answer.status_code == 400 and error["code"] != "invalid_json":
        assert error["param"], error


@odd
@given(damages(CHAT))
@example(CHAT)
def test_an_odd_chat_completion_is_refused_by_name(client: FlaskClient, body: Any) -> None:
    ask(client, "/v1/chat/completions", body)


@odd
@given(damages(RESPONSES))
@example(RESPONSES)
def test_an_odd_response_is_refused_by_name(client: FlaskClient, body: Any) -> None:
    ask(client, "/v1/responses", body)


@settings(odd, max_examples=BODIES // 4)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/responses", "/plugin/v1/attach", "/operator/v1/calls/x/deny"]
)
def test_what_is_no_object_is_no_fault_of_the_bridge(client: FlaskClient, path: str, raw: bytes) -> None:
    answer = client.post(path, data=raw, content_type="application/json", headers=TOKEN)
    assert answer.status_code in {400, 404}
    assert answer.get_json()["error"]["message"]


Damage = Callable[[dict[str, Any]], dict[str, Any]]


@settings(odd, max_examples=BODIES // 4)
@given(st.data())
@pytest.mark.parametrize(
    ("method", "path", "model"),
    [
        ("POST", "/plugin/v1/attach", "AttachRequest"),
        ("PUT", "/plugin/v1/tickets/ticket1", "TicketRequest"),
        ("PUT", "/plugin/v1/tickets/ticket2", "TicketRequest"),
        ("POST", "/plugin/v1/invocations/inv7Hs2Kd9Lq/drafts", "DraftRequest"),
        ("POST", "/executor/v1/executors", "Registration"),
        ("POST", "/executor/v1/executors/executor1/results", "LeasedResults"),
        ("POST", "/operator/v1/calls/call0/approve", "Approve"),
    ],
)
def test_odd_bodies_of_the_other_routes_are_refused_too(
    client: FlaskClient, method: str, path: str, model: str, data: st.DataObject
) -> None:
    body = data.draw(damages(EXAMPLES[model]))
    answer = client.open(path, method=method, data=json.dumps(body), content_type="application/json", headers=TOKEN)
    assert answer.status_code in {200, 204, 400, 404, 409, 410}, answer.get_data(as_text=True)
