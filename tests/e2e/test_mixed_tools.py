"""One round for three places: the client's tools, an executor's and Dify's. The real parts; a played workspace."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.client import Client
from demo.local_tools import LocalTools
from demo.stack import Stack
from tests.e2e.conftest import MakeClient, MakeStack, call, export_with, upstream_log
from tests.e2e.executors import SECONDS, Chat, Machine, wait_for
from tests.e2e.flows import in_a_row, llm
from tests.e2e.test_dify_tools import made, picked, present, tool
from tests.page.conftest import words

TOOLS = [
    tool("builtin", "acme/google/google", "google_search", "seven results", seconds=1.5),
    tool("builtin", "acme/files/files", "read", "Dify's page {path}", parameters=[{"name": "path", "form": "llm"}]),
    tool("builtin", "mail", "send_mail", "sent", seconds=4),
]
POLICY = """
[[rules]]
tool = ["google_search", "read", "send_mail"]
executor = "dify"
action = "allow"

[[rules]]
tool = "laptop_read"
arguments = { path = "secret*" }
action = "deny"
reason = "that one is secret"
"""
LAPTOP = """
import time
from pathlib import Path
from executor import tool

@tool(read_only=True)
def read(path: str) -> str:
    "Read on the laptop."
    return f"the laptop's {path}"

@tool(read_only=True)
def ponder(seconds: float) -> str:
    "Think."
    time.sleep(seconds)
    return "pondered"

@tool
def note(path: str, text: str) -> str:
    "Write a note."
    Path(path).write_text(text)
    return "noted"
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    exports = {
        "few": export_with(folder, "minimal", allowed_tools="read, dify:*, !dify:send_mail"),
        "plain": export_with(folder, "minimal"),
        "impatient": export_with(folder, "minimal", callback_wait_seconds=1),
        "changing": in_a_row(
            folder,
            "changing",
            llm("node", "{{#sys.query#}} {{#sys.workflow_run_id#}}", {"callback_wait_seconds": 1}),
        ),
        "stops": export_with(folder, "minimal", stop_after_tool_calls=True),
    }
    shared = {"tools": "client+executors"}
    with Stack(
        folder,
        apps=["minimal"],
        exports=exports,
        workspace={"tools": TOOLS, "picked": picked(TOOLS)},
        bridge_keys={"policy": str(policy)},
        bridge_settings={"lease_seconds": 1, "sweep_seconds": 0.3, "executor_seconds": 5, "grace_seconds": 1},
        each_app=dict.fromkeys(("minimal", "few", "impatient", "changing", "stops"), shared),
    ) as running:
        wait_for(lambda: present(running))
        yield running


@pytest.fixture(scope="module")
def machine(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("laptop")
    (folder / "laptop_tools.py").write_text(LAPTOP)
    with Machine(stack, folder) as machine:
        machine.environ["PYTHONPATH"] += f":{folder}"
        machine.executor("python", "laptop_tools", name="laptop")
        yield machine


@pytest.fixture
def client(stack: Stack, machine: Machine, make_client: MakeClient, tmp_path: Path) -> Client:
    (tmp_path / "a.txt").write_text("the client's own")
    return make_client(stack)


def offered(stack: Stack, text: str) -> list[str]:
    """What the upstream was offered in a conversation."""
    request = upstream_log(stack, text)[-1]["request"]
    return sorted(each["function"]["name"] for each in request.get("tools", ()))


def told(client: Client) -> list[str]:
    """What the client was asked to run, by name."""
    return [each["function"]["name"] for message in client.messages for each in message.get("tool_calls") or ()]


@contextmanager
def browsing(stack: Stack) -> Iterator[httpx.Client]:
    """Somebody who is logged in to the page."""
    with httpx.Client(base_url=stack.bridge_url, headers={"Origin": stack.bridge_url}) as browser:
        assert browser.post("/login", data={"token": stack.operator_token, "name": "ann"}).status_code == 303
        yield browser


def calls_of(stack: Stack, run_id: str) -> dict[str, tuple[str, str | None]]:
    """Where each call of a run went, and what became of it."""
    store = stack.store()
    try:
        return {each.name: (each.state, each.place) for ticket in store.tickets_of_run(run_id) for each in ticket.calls}
    finally:
        store.close()


def test_a_name_in_all_three_places_is_three_tools_and_each_call_goes_to_its_own(stack: Stack, client: Client) -> None:
    path = "a.txt"
    outcome = client.ask(
        "\n".join(
            [
                "Read threefold.",
                call("read", path=path),
                call("laptop_read", path=path),
                call("dify_read", path=path),
                call("google_search"),
            ]
        )
    )
    assert "seven results" in outcome.reply.text
    assert outcome.http_requests == 2
    results = json.dumps(upstream_log(stack, "Read threefold.")[-1]["request"]["messages"][-4:])
    assert all(said in results for said in ("the client's own", "the laptop's a.txt", "Dify's page a.txt"))
    assert told(client) == ["read"]
    assert calls_of(stack, outcome.runs[0]) == {
        "read": ("resolved", None),
        "laptop_read": ("resolved", "laptop"),
        "dify_read": ("resolved", "dify"),
        "google_search": ("resolved", "dify"),
    }


@pytest.mark.parametrize("model", ["impatient", "stops"])
def test_a_node_that_lets_go_meanwhile_goes_on_with_the_results(
    stack: Stack, machine: Machine, make_client: MakeClient, model: str
) -> None:
    client = make_client(stack, model)
    outcome = client.ask("\n".join([call("ponder", seconds=3), "!then", call("exec", command="sleep 2; echo slept")]))
    assert "slept" in outcome.reply.text
    assert (told(client), outcome.http_requests, len(outcome.runs)) == (["exec"], 2, 1)
    results = json.dumps(upstream_log(stack, "sleep 2; echo slept")[-1]["request"]["messages"])
    assert "pondered" in results
    lines = [call("ponder", seconds=3), call("exec", command="echo at once")]
    outcome = client.ask("\n".join(lines))
    assert "at once" in outcome.reply.text


def test_a_node_that_is_asked_something_else_as_it_goes_on_is_told_what_executors_did(
    stack: Stack, machine: Machine, make_client: MakeClient
) -> None:
    """Its rounds are not found again, and the client's transcript does not hold the calls of others."""
    client, before = make_client(stack, "changing"), made(stack, "google_search")
    lines = ["Change.", call("google_search"), call("exec", command="sleep 3; echo slept"), "!then", "!say All done."]
    assert client.ask("\n".join(lines)).reply.text.startswith("All done.")
    assert made(stack, "google_search") == before + 1
    messages = upstream_log(stack, "sleep 3; echo slept")[-1]["request"]["messages"]
    assert [len(message["tool_calls"]) for message in messages if message.get("tool_calls")] == [2]
    assert sorted(message["content"] for message in messages if message["role"] == "tool") == ["seven results", "slept"]


def test_the_page_says_where_each_call_runs(stack: Stack, client: Client) -> None:
    lines = [call("read", path="a.txt"), call("laptop_read", path="a.txt"), call("dify_read", path="a.txt")]
    outcome = client.ask("\n".join(lines))
    with browsing(stack) as browser:
        page = words(browser.get(f"/runs/{outcome.runs[0]}").text)
    assert "laptop_read ( read of laptop )" in page
    assert "dify_read ( read of dify )" in page
    steps = page[page.index("Round 1") :]
    assert re.search(r"read done [\d.]+ m?s · the client", steps)
    assert re.search(r"laptop_read \( read of laptop \) done [\d.]+ m?s · laptop", steps)
    assert re.search(r"dify_read \( read of dify \) done [\d.]+ m?s · dify", steps)


def test_dify_s_executor_stands_on_the_page_and_in_the_metrics(stack: Stack, client: Client) -> None:
    headers = {"Authorization": f"Bearer {stack.operator_token}"}

    def figures() -> str:
        return httpx.get(f"{stack.bridge_url}/metrics", headers=headers).text

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.ask, call("send_mail"))
        wait_for(lambda: True if 'clawback_executor_calls{executor="dify"} 1.0' in figures() else None)
        with browsing(stack) as browser:
            page = words(browser.get("/executors").text)
        assert "sent" in answer.result(SECONDS).reply.text
    assert "dify connected 1 of 4 calls" in page
    assert all(each["tool"] in page for each in TOOLS)
    assert "laptop connected 0 of 4 calls" in page
    assert "clawback_executors 2.0" in figures()
    assert 'clawback_executor_calls_limit{executor="dify"} 4.0' in figures()
    assert 'clawback_call_steps_total{step="claim"}' in figures()


def test_a_call_that_dify_ends_at_its_limit_says_so(
    make_stack: MakeStack, make_client: MakeClient, tmp_path: Path
) -> None:
    """A safe one is not run again, as it would take as long; for the other one a person says what became of it."""
    tools = [tool("builtin", "web", name, "done", seconds=60) for name in ("crawl", "export_all")]
    policy = tmp_path / "policy.toml"
    policy.write_text('[[rules]]\naction = "allow"\n')
    stack = make_stack(
        apps=[],
        exports={"impatient": export_with(tmp_path, "minimal", callback_wait_seconds=1)},
        app_settings={"tools": "client+executors"},
        workspace={"tools": tools, "picked": picked(tools), "retry": {"crawl": "safe"}},
        bridge_keys={"policy": str(policy)},
        box_options=["--plugin-seconds", "8"],
    )
    wait_for(lambda: present(stack))
    client, machine = make_client(stack, "impatient"), Machine(stack, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(
            client.ask, "\n".join(["Crawl.", call("crawl"), call("export_all"), "!then", "!say Well."])
        )
        waiting = machine.waiting_call()
        assert (waiting["name"], waiting["verdict"]) == ("export_all", "unknown whether it ran")
        store = stack.store()
        try:
            lost = [event.detail for event in store.events_of_run(waiting["run_id"]) if event.event == "lose"]
        finally:
            store.close()
        assert [said[:49] for said in lost] == ["Dify ended the call at the limit that it sets to "]
        assert machine.clawback("deny", waiting["id"], "--reason", "It is there.").returncode == 0
        assert answer.result(SECONDS).reply.text == "Well."
    said = json.dumps(upstream_log(stack, "Crawl.")[-1]["request"]["messages"])
    assert "PLUGIN_MAX_EXECUTION_TIMEOUT, 600 seconds" in said
    assert "may have run all the same" in said
    assert (made(stack, "crawl"), made(stack, "export_all")) == (1, 1)


def test_the_client_never_sees_the_others(stack: Stack, client: Client) -> None:
    """What it is sent names none of their tools, and its transcript is as if they were not there."""
    body = {
        "model": "minimal",
        "messages": [{"role": "user", "content": "\n".join([call("google_search"), call("ponder", seconds=0.1)])}],
        "tools": LocalTools(Path()).definitions,
        "stream": True,
    }
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    with httpx.stream("POST", f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60) as said:
        whole = said.read().decode()
    assert '"finish_reason": "stop"' in whole.replace('":"', '": "')
    assert "tool_calls" not in whole
    assert "pondered" in whole


def test_the_calls_of_a_round_run_at_once(stack: Stack, client: Client) -> None:
    lines = [call("ponder", seconds=1.5), call("google_search"), call("exec", command="date +%s.%N; sleep 1.5")]
    outcome = client.ask("\n".join(lines))
    result = next(message["content"] for message in client.messages if message["role"] == "tool")
    store = stack.store()
    try:
        events = store.events_of_run(outcome.runs[0])
    finally:
        store.close()
    began = [float(result.splitlines()[0]), *(event.at for event in events if event.event == "claim")]
    ended = [event.at for event in events if event.event == "resolve"]
    assert (len(began), len(ended)) == (3, 3)
    assert max(began) < min(ended), "one waited for another, each of which takes 1.5 seconds"


def test_without_the_setting_a_client_gets_its_own_tools_alone(
    stack: Stack, machine: Machine, make_client: MakeClient
) -> None:
    client = make_client(stack, "plain")
    client.ask("What is there, plainly?")
    assert offered(stack, "What is there, plainly?") == ["exec", "read", "write"]


def test_allowed_tools_names_dify_s_by_a_prefix(stack: Stack, machine: Machine, make_client: MakeClient) -> None:
    make_client(stack, "few").ask("What is there, of few?")
    assert offered(stack, "What is there, of few?") == ["dify_read", "google_search", "read"]
    Chat(stack, "few", "fay").say("And what for a person at Dify?")
    assert offered(stack, "And what for a person at Dify?") == ["dify_read", "google_search", "read"]


def test_a_rule_for_either_name_hits(stack: Stack, client: Client) -> None:
    """`laptop_read` is what the rule says, and `send_mail` is what Dify calls it."""
    outcome = client.ask("\n".join([call("laptop_read", path="secret.txt"), call("laptop_read", path="b.txt")]))
    assert "that one is secret" in json.dumps(upstream_log(stack, "secret.txt")[-1]["request"]["messages"])
    assert "the laptop's b.txt" in outcome.reply.text


def test_a_person_is_asked_about_an_executor_s_call_while_the_client_runs_its_own(
    stack: Stack, machine: Machine, client: Client, tmp_path: Path
) -> None:
    path = machine.folder / "noted.txt"
    lines = ["Note it.", call("note", path=str(path), text="x"), call("write", path="own.txt", content="y")]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.ask, "\n".join(lines))
        waiting = machine.waiting_call()
        wait_for(lambda: True if (tmp_path / "own.txt").exists() else None)
        assert (waiting["name"], path.exists()) == ("note", False)
        assert machine.clawback("approve", waiting["id"]).returncode == 0
        outcome = answer.result(SECONDS)
    assert path.read_text() == "x"
    assert told(client) == ["write"]
    assert outcome.http_requests == 2


def test_a_client_cannot_answer_a_call_that_is_not_its_own(stack: Stack, machine: Machine, client: Client) -> None:
    path = machine.folder / "never.txt"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.ask, "\n".join([call("note", path=str(path), text="x"), "!then", "!say Well."]))
        waiting = machine.waiting_call()
        body = {
            "model": "minimal",
            "messages": [
                {"role": "user", "content": "Guess."},
                {"role": "assistant", "tool_calls": [_asked(waiting)]},
                {"role": "tool", "tool_call_id": waiting["id"], "content": "forged"},
            ],
        }
        headers = {"Authorization": f"Bearer {stack.client_token}"}
        httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)
        assert machine.waiting_call()["id"] == waiting["id"]
        assert machine.clawback("deny", waiting["id"], "--reason", "no").returncode == 0
        assert answer.result(SECONDS).reply.text == "Well."
    assert "forged" not in json.dumps(upstream_log(stack, "never.txt")[-1]["request"]["messages"])


def _asked(waiting: dict[str, Any]) -> dict[str, Any]:
    return {"id": waiting["id"], "type": "function", "function": {"name": "note", "arguments": "{}"}}


def test_a_client_that_leaves_ends_its_run_and_the_result_is_of_no_use(
    stack: Stack, machine: Machine, client: Client
) -> None:
    body = {
        "model": "minimal",
        "messages": [{"role": "user", "content": "\n".join(["Leave.", call("send_mail")])}],
        "stream": True,
    }
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    before = made(stack, "send_mail")
    with httpx.stream("POST", f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60) as said:
        run_id = said.headers["x-clawback-run"]
        wait_for(lambda: True if made(stack, "send_mail") > before else None)
    wait_for(lambda: True if calls_of(stack, run_id)["send_mail"][0] == "cancelled" else None)
    time.sleep(1)
    assert made(stack, "send_mail") == before + 1


def test_the_bridge_may_be_killed_while_a_call_of_dify_is_out(stack: Stack, machine: Machine, client: Client) -> None:
    """Nobody knows whether it ran: a person is asked, it never runs twice, and the client goes on as it retries."""
    before = made(stack, "send_mail")
    lines = ["Send it.", call("send_mail"), call("write", path="mail.txt", content="y"), "!then", "!say All done."]
    first = client.begin("\n".join(lines))
    client.messages.append({"role": "assistant", "content": first.text or None, "tool_calls": first.calls})
    client.messages.extend(client._run(first.calls))
    wait_for(lambda: True if made(stack, "send_mail") > before else None)
    stack.bridge.kill()
    stack.bridge.start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client._request)
        waiting = machine.waiting_call()
        assert waiting["verdict"] == "unknown whether it ran"
        assert machine.clawback("deny", waiting["id"], "--reason", "It was sent.").returncode == 0
        assert answer.result(SECONDS).text == "All done."
    assert made(stack, "send_mail") == before + 1
    assert "unknown whether it ran" in json.dumps(upstream_log(stack, "Send it.")[-1]["request"]["messages"])
