"""Apps with several LLM nodes, and runs that let go of their workflow while other things happen."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.store.rows import RunRow, TicketRow
from demo.client import session_headers
from demo.local_tools import DEFINITIONS
from demo.stack import Stack
from tests.e2e.conftest import MakeClient, MakeStack, call, stream, upstream_log
from tests.e2e.flows import in_a_row, llm, parallel

KILLED = session_headers("killed")
SOON = {"callback_wait_seconds": 1}
LATE = "sleep 2.5; echo"


def two_rounds(name: str, first: str = "echo") -> str:
    """A node that says something, calls a tool twice, and says that it is done."""
    calls = [call("exec", command=f"{first} {name}1"), "!then", call("exec", command=f"echo {name}2")]
    return "\n".join(
        [f"Node {name}. {{{{#sys.query#}}}}", f"!say text {name}", *calls, "!then", f"!say {name} is done"]
    )


SLOW_B = "\n".join(
    ["Node B. {{#sys.query#}}", "!say text B", "!sleep 1.5", call("exec", command="echo B1"), "!then", "!say B is done"]
)
ALIKE = "\n".join(["{{#sys.query#}}", call("exec", command="echo $RANDOM$RANDOM"), "!then", "!say done"])
ALIKE_LATE = "\n".join(["{{#sys.query#}}", call("exec", command=f"{LATE} alike"), "!then", "!say done"])
RETRIES = {"retry_enabled": True, "max_retries": 2, "retry_interval": 10}
DEFAULT: dict[str, Any] = {
    "error_strategy": "default-value",
    "default_value": [{"key": "text", "type": "string", "value": "sorry"}],
}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("several")
    exports = {
        "parallel": parallel(folder, "parallel", llm("11", two_rounds("A")), llm("12", two_rounds("B"))),
        "both-let-go": parallel(
            folder, "both", llm("11", two_rounds("A", LATE), SOON), llm("12", two_rounds("B", LATE), SOON)
        ),
        "one-lets-go": parallel(folder, "one", llm("11", two_rounds("A", LATE), SOON), llm("12", SLOW_B, SOON)),
        "alike": in_a_row(folder, "alike", llm("11", ALIKE), llm("12", ALIKE), llm("13", ALIKE)),
        "alike-let-go": in_a_row(folder, "alike-let-go", llm("11", ALIKE_LATE, SOON), llm("12", ALIKE_LATE, SOON)),
        "retries": in_a_row(folder, "retries", llm("11", two_rounds("A", LATE), SOON, retry_config=RETRIES)),
        "default": in_a_row(folder, "default", llm("11", two_rounds("A", LATE), SOON, **DEFAULT), llm("12", ALIKE)),
    }
    with Stack(folder, apps=[], exports=exports) as running:
        yield running


def stored(stack: Stack, run_id: str) -> tuple[RunRow, list[TicketRow]]:
    store = stack.store()
    try:
        run = store.run(run_id)
        assert run is not None
        return run, store.tickets_of_run(run_id)
    finally:
        store.close()


@pytest.mark.parametrize(
    ("app", "whole", "tickets", "attempts"),
    [
        ("parallel", "text AA is done + text BB is done", 4, 1),
        ("alike", "done + done + done", 3, 1),
        ("both-let-go", "text AA is done + text BB is done", 4, 2),
        ("one-lets-go", "text AA is done + text BB is done", 3, 2),
        ("alike-let-go", "done + done", 2, 3),
        ("retries", "text AA is done", 2, 2),
        ("default", "text AA is done + done", 3, 2),
    ],
)
def test_every_ticket_of_every_node_is_delivered_and_answered_once(
    several: Stack, make_client: MakeClient, app: str, whole: str, tickets: int, attempts: int
) -> None:
    client = make_client(several, app)
    outcome = client.ask(f"Go {app}.")
    (run_id,) = outcome.runs
    run, opened = stored(several, run_id)
    assert (run.state, run.attempt) == ("finished", attempts)
    assert [ticket.state for ticket in opened] == ["resolved"] * tickets
    results = [message for message in client.messages if message["role"] == "tool"]
    assert len({message["tool_call_id"] for message in results}) == len(results) == tickets
    told = "".join(message["content"] or "" for message in client.messages if message["role"] == "assistant")
    # Which response a node's text ends depends on when the other node calls.
    assert told == whole


def test_a_node_that_is_tried_again_while_its_run_is_suspended_asks_no_model(
    several: Stack, make_client: MakeClient
) -> None:
    make_client(several, "retries").ask("Only with tools.")
    assert all(entry["request"].get("tools") for entry in upstream_log(several, "Only with tools."))


def test_no_node_of_a_run_that_is_over_becomes_a_run_of_the_executors(several: Stack, make_client: MakeClient) -> None:
    outcome = make_client(several, "alike").ask("Then it is over.")
    (run_id,) = outcome.runs
    run, _ = stored(several, run_id)
    executor = {"Authorization": f"Bearer {several.executor_token}"}
    tool = {"type": "function", "function": {"name": "exec", "parameters": {"type": "object"}}}
    registered = httpx.post(
        f"{several.bridge_url}/executor/v1/executors", headers=executor, json={"name": "hands", "tools": [tool]}
    )
    assert registered.is_success, registered.text
    plugin = {"Authorization": f"Bearer {several.plugin_token}"}
    for named in ({"user": run.dify_user}, {"callback_key": f"u:{run.dify_user}"}):
        body = {"invocation_id": "late-invocation", "fingerprint": "f", "model": "main", **named}
        answer = httpx.post(f"{several.bridge_url}/plugin/v1/attach", headers=plugin, json=body)
        assert answer.status_code == 410, answer.text
        assert "finished" in answer.json()["error"]["message"]


def test_an_invocation_that_attaches_again_gets_the_same_run(several: Stack) -> None:
    executor = {"Authorization": f"Bearer {several.executor_token}"}
    tool = {"type": "function", "function": {"name": "exec", "parameters": {"type": "object"}}}
    httpx.post(f"{several.bridge_url}/executor/v1/executors", headers=executor, json={"name": "hands", "tools": [tool]})
    plugin = {"Authorization": f"Bearer {several.plugin_token}"}
    body = {"invocation_id": "attached-twice", "fingerprint": "g", "model": "main", "user": "someone"}
    runs = [
        httpx.post(f"{several.bridge_url}/plugin/v1/attach", headers=plugin, json=body).json()["run_id"]
        for _ in range(2)
    ]
    assert runs[0] == runs[1] is not None


def post(stack: Stack, prompt: str, session: str, **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": prompt}]
    headers = {"Authorization": f"Bearer {stack.client_token}", **session_headers(session)}
    body = {"model": "minimal", "messages": messages, "tools": DEFINITIONS, **more}
    return httpx.post(f"{stack.base_url}/chat/completions", headers=headers, json=body, timeout=60)


def wait_until(done: Callable[[], bool], what: str) -> None:
    for _ in range(150):
        if done():
            return
        time.sleep(0.1)
    pytest.fail(f"it never came to be that {what}")


def test_a_run_under_which_the_bridge_was_killed_does_not_keep_its_session_from_its_conversation(
    make_stack: MakeStack,
) -> None:
    stack = make_stack()
    first, _ = stored(stack, post(stack, "First.\n!say one", "killed").headers["x-clawback-run"])
    prompt = "Second.\n!sleep 1\n!say two"
    with stream(stack, {"model": "minimal", "messages": [{"role": "user", "content": prompt}]}, **KILLED) as response:
        orphan = response.headers["x-clawback-run"]
        stack.bridge.kill()
    stack.bridge.start()
    again = post(stack, prompt, "killed")
    assert again.json()["choices"][0]["message"]["content"] == "two"
    run, _ = stored(stack, orphan)
    assert again.headers["x-clawback-run"] == orphan
    assert run.state == "finished"
    assert run.dify_user == first.dify_user
    assert run.conversation_id == first.conversation_id


def test_a_run_whose_model_never_finished_a_call_that_its_client_saw_has_an_end(stack: Stack) -> None:
    prompt = "\n".join(["Half a call.", call("exec", command="x" * 400), "!cut times 12"])
    with stream(
        stack, {"model": "minimal", "messages": [{"role": "user", "content": prompt}], "tools": DEFINITIONS}
    ) as response:
        said = response.read().decode()
    assert "error" in said
    run_id = response.headers["x-clawback-run"]
    wait_until(lambda: stored(stack, run_id)[0].state == "failed", "the run has failed")


def with_policy(stack: Stack, rules: str) -> None:
    (stack.folder / "policy.toml").write_text(rules)
    config = stack.folder / "clawback.toml"
    config.write_text(f"policy = {json.dumps(str(stack.folder / 'policy.toml'))}\n{config.read_text()}")
    stack.bridge.kill()
    stack.bridge.start()


def test_a_client_is_never_told_of_a_call_that_it_may_not_run(make_stack: MakeStack, make_client: MakeClient) -> None:
    stack = make_stack()
    with_policy(stack, '[[rules]]\ntool = "exec"\naction = "deny"\narguments.command = "touch *"\n')
    touch, echo = call("exec", command="touch denied"), call("exec", command="echo allowed")
    client = make_client(stack)
    outcome = client.ask("\n".join(["Both.", "!delta 3", touch, echo, "!then", touch, "!then", "!say that is all"]))
    assert outcome.reply.text == "that is all"
    asked = [made for message in client.messages for made in message.get("tool_calls", ())]
    assert [json.loads(made["function"]["arguments"])["command"] for made in asked] == ["echo allowed"]


def test_a_client_that_waits_for_a_persons_decision_gets_the_call_of_a_suspended_run(
    make_stack: MakeStack, make_client: MakeClient, tmp_path: Path
) -> None:
    node = llm("11", two_rounds("A"), SOON)
    stack = make_stack(apps=[], exports={"minimal": in_a_row(tmp_path, "asks", node)})
    with_policy(stack, '[[rules]]\ndirection = "endpoint"\naction = "ask"\n')
    operator = {"Authorization": f"Bearer {stack.operator_token}"}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(make_client(stack).ask, "May I?")
        for _ in range(2):
            wait_until(lambda: in_state(stack, "suspended", "awaiting_approval") != [], "the run waits for a person")
            (call_id,) = in_state(stack, "suspended", "awaiting_approval")
            url = f"{stack.bridge_url}/operator/v1/calls/{call_id}/approve"
            assert httpx.post(url, json={"by": "ada"}, headers=operator).status_code == 200
        outcome = asked.result(timeout=60)
    assert outcome.reply.text.endswith("A is done")
    assert len(outcome.runs) == 1


def in_state(stack: Stack, run_state: str, call_state: str) -> list[str]:
    store = stack.store()
    try:
        runs = [run for run_id in store.run_ids() if (run := store.run(run_id)) and run.state == run_state]
        tickets = [ticket for run in runs for ticket in store.tickets_of_run(run.id, "open")]
        return [call.id for ticket in tickets for call in ticket.calls if call.state == call_state]
    finally:
        store.close()
