"""Clients with tokens of their own: what one begins does not exist for the others, and each has its limits."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.store.rows import RunRow
from demo.client import session_headers
from demo.local_tools import DEFINITIONS
from demo.service import Service
from demo.stack import PROVIDER, ROOT, Stack, free_port
from tests.e2e.conftest import MakeStack, call
from tests.e2e.executors import wait_for
from tools.run_states import UNFINISHED
from tools.tokens import hash_token, new_token

RESPONSES_TOOLS = [{"type": "function", **tool["function"]} for tool in DEFINITIONS]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("clients"), apps=["minimal", "router"]) as stack:
        yield stack


def clawback(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = ("--config", str(stack.folder / "clawback.toml"))
    return subprocess.run(
        [sys.executable, "-m", "bridge.cli", "token", *arguments, *config], capture_output=True, text=True, check=False
    )


def made(stack: Stack, *arguments: str) -> str:
    added = clawback(stack, "add", *arguments)
    assert added.returncode == 0, added.stderr
    return added.stdout.split()[1]


class Asking:
    """A client with its token. All are of the same session, and say the same."""

    def __init__(self, stack: Stack, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}", **session_headers("the-same"), "Connection": "close"}
        self.http = httpx.Client(base_url=stack.base_url, headers=headers, timeout=60)

    def chat(self, *messages: dict[str, Any], model: str = "minimal") -> httpx.Response:
        return self.http.post(
            "/chat/completions", json={"model": model, "messages": list(messages), "tools": DEFINITIONS}
        )

    def respond(self, **body: Any) -> httpx.Response:
        return self.http.post("/responses", json={"model": "minimal", "tools": RESPONSES_TOOLS, **body})


WORDS = {"role": "user", "content": f"Ours.\n{call('exec', command='echo secret-of-ada')}\n!then\n!say done"}


def test_what_one_client_begins_does_not_exist_for_another(stack: Stack) -> None:
    ada, bob = (Asking(stack, made(stack, name)) for name in ("ada", "bob"))
    default = Asking(stack, stack.client_token)
    asked = ada.chat(WORDS).json()["choices"][0]["message"]
    [tool_call] = asked["tool_calls"]
    result = {"role": "tool", "tool_call_id": tool_call["id"], "content": "forged"}
    forged = {"tool_call_id": tool_call["id"], "output": "forged"}
    for other in (bob, default):
        theirs = other.chat(WORDS, asked, result)
        assert theirs.headers["x-clawback-run"] not in {run.id for run in _runs(stack, "ada")}
        alone = other.http.post(
            "/chat/completions",
            json={
                "model": "minimal",
                "messages": [WORDS],
                "tool_results": [forged],
            },
        )
        assert alone.status_code == 400, "nobody else's calls are woven into a transcript"
        assert "secret-of-ada" not in alone.text
    with closing(stack.store()) as store:
        [run] = _runs(stack, "ada")
        assert store.tickets_of_run(run.id)[0].state == "open"
    own = ada.chat(WORDS, asked, {**result, "content": "hers"}).json()
    assert own["choices"][0]["message"]["content"] == "done"


@pytest.mark.parametrize(
    ("own", "forged", "field"),
    [
        ({"X-Claude-Code-Session-Id": "s"}, {"X-Claude-Code-Session-Id": "{}", "X-Claude-Code-Agent-Id": "s"}, {}),
        ({}, {}, {"prompt_cache_key": "k"}),
        ({}, {}, {"user": "k"}),
    ],
)
def test_no_name_leads_into_the_conversation_of_another_client(
    stack: Stack, own: dict[str, str], forged: dict[str, str], field: dict[str, str]
) -> None:
    name = f"whose-{len(own)}-{''.join(field)}".replace("_", "-").lower()
    owner, default = Asking(stack, made(stack, name)), Asking(stack, stack.client_token)
    secret = f"Our secret of {name}.\n!say kept"
    words, more = [{"role": "user", "content": text} for text in (secret, "!say more")]
    answered = {"role": "assistant", "content": "kept"}

    def run_of(asker: Asking, headers: dict[str, str], *messages: dict[str, Any], **more: str) -> RunRow:
        token = asker.http.headers["authorization"]
        body = {"model": "minimal", "messages": list(messages), "tools": DEFINITIONS, **more}
        said = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers={"Authorization": token, **headers})
        with closing(stack.store()) as store:
            run = store.run(said.headers["x-clawback-run"])
            assert run
            return run

    first = run_of(owner, own, words, **field)
    headers = {header: value.format(name) for header, value in forged.items()}
    stranger = run_of(default, headers, words, answered, more, **dict.fromkeys(field, f"{name}\nk"))
    assert stranger.dify_user != first.dify_user
    assert run_of(owner, own, words, answered, more, **field).dify_user == first.dify_user


def test_a_client_is_not_told_how_the_same_request_failed_for_another(stack: Stack) -> None:
    words = {"role": "user", "content": "Fail late.\n!say part\n!sleep 3\n!error 401 times 9"}
    body = {"model": "minimal", "max_tokens": 100, "messages": [words]}
    first, second = (Asking(stack, made(stack, name)).http for name in ("fails", "asks-too"))
    assert "credentials_refused" in first.post("/messages", json=body | {"stream": True}).text
    assert second.post("/messages", json=body).status_code == 422
    assert len(_runs(stack, "asks-too")) == 1, "it was told of a run of its own"


def test_responses_belong_to_their_client(stack: Stack) -> None:
    eve, mallory = (Asking(stack, made(stack, name)) for name in ("eve", "mallory"))
    response = eve.respond(input="!say hello").json()
    for path, method in (("", "GET"), ("/input_items", "GET"), ("/cancel", "POST"), ("", "DELETE")):
        assert mallory.http.request(method, f"/responses/{response['id']}{path}").status_code == 404
    assert mallory.respond(input="go on", previous_response_id=response["id"]).status_code == 400
    assert eve.http.get(f"/responses/{response['id']}").status_code == 200
    assert eve.respond(input="!say more", previous_response_id=response["id"]).status_code == 200


def test_a_client_sees_the_models_that_it_may_ask(stack: Stack) -> None:
    guest = Asking(stack, made(stack, "guest", "--app", "router"))
    assert [model["id"] for model in guest.http.get("/models").json()["data"]] == ["router"]
    refused = guest.chat(WORDS)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert "minimal" not in refused.json()["error"]["message"].partition("has ")[2]
    assert clawback(stack, "add", "typo", "--app", "rooter").returncode == 1


@pytest.mark.parametrize(
    ("limit", "before", "code"),
    [
        ("--requests-per-minute", 2, "rate_limit_exceeded"),
        ("--open-tickets", 1, "rate_limit_exceeded"),
        ("--tokens-per-day", 1, "insufficient_quota"),
    ],
)
def test_a_limit_is_told_with_when_to_come_back(stack: Stack, limit: str, before: int, code: str) -> None:
    name = limit.strip("-")
    client = Asking(stack, made(stack, name, limit, str(before)))
    for number in range(before):
        words = f"{number} {WORDS['content']}" if limit == "--open-tickets" else f"!say {number}"
        client.http.headers.update(session_headers(f"{name}-{number}"))
        assert client.chat({"role": "user", "content": words}).status_code == 200
    client.http.headers.update(session_headers(f"{name}-last"))
    # What a turn has used is counted as it ends, a moment after its answer.
    until = time.monotonic() + 20
    while (refused := client.chat({"role": "user", "content": "!say one more"})).status_code == 200:
        assert limit == "--tokens-per-day"
        assert time.monotonic() < until
        time.sleep(0.5)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, code)
    assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize("limit", ["--open-tickets", "--tokens-per-day"])
def test_of_many_turns_that_begin_at_once_a_limit_lets_as_many_as_may(stack: Stack, limit: str) -> None:
    name = f"crowd{limit}"
    token = made(stack, name, limit, "1")
    answers = begun_at_once([stack.base_url], token, f"crowd{limit}", limit)
    assert sorted(answers) == [200, *[429] * 11]
    assert len(_runs(stack, name)) == 1


def begun_at_once(urls: list[str], token: str, name: str, limit: str, model: str = "minimal") -> list[int]:
    """Begin a dozen turns at once, each in a session of its own; return how that was answered."""

    def begin(number: int) -> int:
        headers = {"Authorization": f"Bearer {token}", **session_headers(f"{name}-{number}")}
        asked = f"Turn {number} of {name}.\n{call('exec', command='x')}\n!then\n!say done"
        words = {"role": "user", "content": asked if limit == "--open-tickets" else "!say a word"}
        body = {"model": model, "messages": [words], "tools": DEFINITIONS}
        url = urls[number % len(urls)]
        return httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(12) as pool:
        return list(pool.map(begin, range(12)))


def test_a_token_ends_when_it_is_revoked(stack: Stack) -> None:
    gone = Asking(stack, made(stack, "gone"))
    assert gone.http.get("/models").status_code == 200
    listed = {each["name"]: each for each in json.loads(clawback(stack, "list", "--json").stdout)}
    assert listed["gone"]["expires_at"] is None
    assert clawback(stack, "revoke", "gone").returncode == 0
    time.sleep(2.5)
    assert gone.http.get("/models").status_code == 401
    assert clawback(stack, "revoke", "gone").returncode == 1


LEAVING = (("leaves-client",), ("leaves-mcp", "--mcp"), ("leaves-executor", "--executor"))


def test_what_is_under_way_with_a_token_ends_when_the_token_is_revoked(stack: Stack) -> None:
    client, mcp, executor = (Asking(stack, made(stack, *each)).http for each in LEAVING)
    root = f"{stack.bridge_url}/executor/v1/executors"
    tools = [{"type": "function", "function": {"name": "wait_for_ever"}, "read_only": True}]
    registered = executor.post(root, json={"name": "leaves-executor", "tools": tools}).json()
    claim = f"{root}/{registered['executor_id']}/claim"
    body = {"model": "minimal", "messages": [{"role": "user", "content": "Long.\n!sleep 50\n!say late"}]}

    def call_tool(number: int, accept: str) -> httpx.Response:
        message = {"id": number, "method": "tools/call", "params": {"name": "wait_for_ever"}}
        return mcp.post(f"{stack.bridge_url}/mcp", json={"jsonrpc": "2.0", **message}, headers={"Accept": accept})

    def ask(**more: Any) -> httpx.Response:
        return client.post("/chat/completions", json=body | more, headers=session_headers(str(more)))

    with ThreadPoolExecutor(5) as pool:
        waiting = {
            "an answer": pool.submit(ask),
            "a stream": pool.submit(ask, stream=True),
            "an MCP call": pool.submit(call_tool, 1, "application/json"),
            "an MCP stream": pool.submit(call_tool, 2, "application/json, text/event-stream"),
        }
        wait_for(lambda: len(_runs(stack, "leaves-client")) == len(_runs(stack, "leaves-mcp")) == 2 or None)
        held = 0
        while held < 2:
            held += len(executor.post(claim, json={"max": 2, "wait": 20}).json()["calls"])
        waiting["a claim"] = pool.submit(executor.post, claim, json={"max": 1, "wait": 30})
        assert not [what for what, answer in waiting.items() if answer.done()]
        for name, *_ in LEAVING:
            assert clawback(stack, "revoke", name).returncode == 0
        answers = {what: answer.result(60) for what, answer in waiting.items()}
    assert {what: answer.status_code for what, answer in answers.items()} == {
        "an answer": 401,
        "a stream": 200,
        "an MCP call": 401,
        "an MCP stream": 200,
        "a claim": 401,
    }
    assert {what for what, answer in answers.items() if "no longer valid" not in answer.text} == set()
    # A run that has ended has no open ticket.
    wait_for(lambda: UNFINISHED.isdisjoint(run.state for run in _runs(stack, "leaves-client", "leaves-mcp")) or None)
    assert watched(stack, "executors")["executors"] == []


def watched(stack: Stack, what: str) -> Any:
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    return httpx.get(f"{stack.bridge_url}/operator/v1/{what}", headers=headers).json()


def test_an_executor_with_a_token_of_its_own_has_its_name_its_calls_and_its_tools_for_itself(stack: Stack) -> None:
    root = f"{stack.bridge_url}/executor/v1"
    left, right, shared = (
        Asking(stack, token).http
        for token in (
            made(stack, "left", "--executor", "--tools", "left_*"),
            made(stack, "right", "--executor"),
            stack.executor_token,
        )
    )
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}, "read_only": True}
        for name in ("left_read", "right_read")
    ]

    def register(executor: httpx.Client, name: str) -> httpx.Response:
        return executor.post(f"{root}/executors", json={"name": name, "tools": tools})

    assert [register(executor, "left").status_code for executor in (right, shared)] == [403, 403]
    assert register(left, "another").status_code == 403
    ids = {name: register(each, name).json()["executor_id"] for name, each in (("left", left), ("right", right))}
    ids["shared"] = register(shared, "anybody").json()["executor_id"]
    offered = {each["name"]: each["tools"] for each in watched(stack, "executors")["executors"]}
    assert offered["left"] == ["left_read"]
    assert offered["right"] == ["left_read", "right_read"]
    left.post(f"{root}/executors/{ids['left']}/heartbeat", json={"tools": tools})
    assert {each["name"]: each["tools"] for each in watched(stack, "executors")["executors"]}["left"] == ["left_read"]

    mcp = Asking(stack, made(stack, "calls", "--mcp", "--tools", "*")).http
    with ThreadPoolExecutor(1) as pool:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "right_read"}}
        headers = {"Accept": "application/json"}
        answer = pool.submit(mcp.post, f"{stack.bridge_url}/mcp", json=message, headers=headers)
        assert left.post(f"{root}/executors/{ids['left']}/claim", json={"wait": 1}).json()["calls"] == []
        [call] = right.post(f"{root}/executors/{ids['right']}/claim", json={"wait": 20}).json()["calls"]
        result = {"lease_id": call["lease_id"], "tool_call_id": call["tool_call_id"], "output": "forged"}
        bodies = {"results": {"results": [result]}, "extend": {"leases": [call["lease_id"]]}}
        bodies |= {"let_go": {"leases": [call["lease_id"]]}, "claim": {}, "heartbeat": {}}
        for other, own in ((left, ids["left"]), (shared, ids["shared"])):
            for what, body in bodies.items():
                assert other.post(f"{root}/executors/{ids['right']}/{what}", json=body).status_code == 410, what
            assert other.delete(f"{root}/executors/{ids['right']}").status_code == 410
            assert other.post(f"{root}/executors/{own}/results", json=bodies["results"]).status_code == 409
        assert left.get(f"{root}/tickets/{call['ticket_id']}").status_code == 404
        assert right.get(f"{root}/tickets/{call['ticket_id']}").json()["missing"] == [call["tool_call_id"]]
        done = {"results": [result | {"output": "its own"}]}
        assert right.post(f"{root}/executors/{ids['right']}/results", json=done).status_code == 200
        assert "its own" in answer.result(30).text

    seen = {each["name"]: each for each in watched(stack, "status")["clients"]}
    assert (seen["right"]["kind"], seen["right"]["used_at"] is not None) == ("executor", True)
    assert clawback(stack, "revoke", "right").returncode == 0
    assert "right" not in {each["name"] for each in watched(stack, "executors")["executors"]}
    shared.delete(f"{root}/executors/{ids['shared']}")
    left.delete(f"{root}/executors/{ids['left']}")


def _runs(stack: Stack, *clients: str) -> list[RunRow]:
    with closing(stack.store()) as store:
        return [run for run_id in store.run_ids() if (run := store.run(run_id)) and run.client in clients]


QUOTAS = {
    "requests": {"requests_per_minute": 1},
    "tickets": {"open_tickets": 1},
    "tokens": {"tokens_per_day": 1},
    "free": {},
}


def test_each_app_has_its_quota_for_all_clients_together(make_stack: MakeStack) -> None:
    exports = dict.fromkeys(QUOTAS, ROOT / "examples" / "minimal.yml")
    stack = make_stack(apps=[], exports=exports, each_app=QUOTAS)
    ada, default = Asking(stack, made(stack, "ada")), Asking(stack, stack.client_token)
    for model, code in (
        ("requests", "rate_limit_exceeded"),
        ("tickets", "rate_limit_exceeded"),
        ("tokens", "insufficient_quota"),
    ):
        words = WORDS if model == "tickets" else {"role": "user", "content": "Once.\n!say once"}
        assert ada.chat(words, model=model).status_code == 200
        for asker in (ada, default):
            refused = asker.chat({"role": "user", "content": "Again.\n!say again"}, model=model)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, code), model
            assert int(refused.headers["retry-after"]) > 0
    assert all(ada.chat({"role": "user", "content": "!say free"}, model="free").is_success for _ in range(3))


# Several Dify servers


def test_two_difys_share_a_bridge_and_the_plugin_of_one_gets_nothing_of_the_other_s_runs(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    exports = dict.fromkeys(["ours", "theirs"], ROOT / "examples" / "minimal.yml")
    port, token = free_port(), new_token("plugin")
    stack = make_stack(apps=[], exports=exports, each_app={"theirs": {"base_url": f"http://127.0.0.1:{port}/v1"}})
    stack.bridge.stop()
    with (stack.folder / "clawback.toml").open("a") as config:
        config.write(f'[[plugins]]\nname = "theirs"\ntoken = "{hash_token(token)}"\napps = ["theirs"]\n')
    stack.bridge.start()
    kept = stack.folder / "credentials.json"
    theirs = json.dumps({PROVIDER: json.loads(kept.read_text())[PROVIDER] | {"bridge_token": token}})
    credentials = tmp_path / "credentials.json"
    credentials.touch(mode=0o600)
    credentials.write_text(theirs)
    changed = {str(stack._box_port): str(port), str(kept): str(credentials)}
    box = Service("other-box", [changed.get(word, word) for word in stack.box.command], tmp_path / "other-box.log")
    try:
        asker = Asking(stack, stack.client_token)
        for model in exports:
            said = asker.chat(WORDS, model=model).json()["choices"][0]["message"]
            result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "ok"}
            answer = asker.chat(WORDS, said, result, model=model).json()["choices"][0]["message"]
            assert answer["content"] == "done"
        for url in (stack.box_url, f"http://127.0.0.1:{port}"):
            assert len(httpx.get(f"{url}/box/state").json()["runs"]) == 1
        # A plugin whose token is for the other's apps alone.
        kept.write_text(theirs)
        words = {"role": "user", "content": WORDS["content"].replace("Ours.", "Again.")}
        refused = asker.chat(words, model="ours").json()
        assert not refused["choices"][0]["message"].get("tool_calls")
        assert "'ours'" in refused["clawback"]["note"]
    finally:
        box.stop()
