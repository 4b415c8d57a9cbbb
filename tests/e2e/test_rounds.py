"""What happens around a round: names and arguments that need care, and results that do not come in time."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.client import session_headers
from demo.stack import PROVIDER, Stack
from tests.e2e.conftest import call, export_with, stream, upstream_log, workflow_runs
from tests.e2e.executors import wait_for
from tests.e2e.test_messages import Talk as MessagesTalk
from tests.e2e.test_messages import calls_of, result, text_of
from tests.e2e.test_survives import results, text, tool_calls

ODD: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "fs.read",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string", "maxLength": 10**6}, "lines": {"type": "array"}},
            "required": ["path"],
            "x-shown-as": "file",
        },
    },
}

DEMANDING = ("gemini", "deepseek", "mistral")
"""Imitated vendors that refuse to go on unless they get back what they said, or ids in their own form."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("rounds")
    timeouts = {"answering": "answer", "failing": "fail"}
    exports = {
        "minimal": _export(folder),
        "ollama": _export(folder, "scripted-like-ollama"),
        "choosy": _export(folder, "scripted-like-openai-reasoning"),
        "openrouter": _export(folder, "scripted-like-openrouter"),
        "reasoning": _export(folder, "scripted-reasoning", callback_wait_seconds=0),
        **{vendor: _export(folder, f"scripted-like-{vendor}") for vendor in DEMANDING},
        **{
            f"{vendor}-lets-go": _export(folder, f"scripted-like-{vendor}", callback_wait_seconds=0)
            for vendor in DEMANDING
        },
        "text": _export(folder, "scripted-text-hermes_json", tool_call_mode="openclaw_text"),
        **{
            name: _export(folder, on_callback_timeout=choice, callback_wait_seconds=1)
            for name, choice in timeouts.items()
        },
    }
    # Without a name of its own, the upstream knows each model by the name that it has in the app.
    with Stack(
        folder, apps=[], exports=exports, bridge_settings={"keepalive_seconds": 0.5}, upstream_model=""
    ) as running:
        yield running


def _export(folder: Path, model: str = "scripted", **parameters: Any) -> Path:
    given = {"external_tool_callback_enabled": True, **parameters}
    node = {"provider": PROVIDER, "name": model, "mode": "chat", "completion_params": given}
    return export_with(folder, "minimal", node={"model": node})


class Talk:
    """A client with one odd tool."""

    def __init__(self, stack: Stack, model: str, *prompt: str, **fields: Any) -> None:
        self.stack, self.model, self.fields = stack, model, fields
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": "\n".join(prompt)}]
        self.run = ""

    def go(self) -> tuple[str, list[dict[str, Any]]]:
        body = {"model": self.model, "messages": self.messages, "tools": [ODD], **self.fields}
        with stream(self.stack, body, **session_headers(self.messages[0]["content"].partition("\n")[0])) as response:
            lines = list(response.iter_lines())
            self.run = response.headers.get("x-clawback-run", "")
        told = Told(lines)
        said, calls = text(told), tool_calls(told)
        self.messages.append({"role": "assistant", "content": said or None} | ({"tool_calls": calls} if calls else {}))
        return said, calls

    def answer(self, output: str) -> tuple[str, list[dict[str, Any]]]:
        self.messages += results(self.messages, output)
        return self.go()


class Told:
    """The lines of a response that was read to its end."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def iter_lines(self) -> Iterator[str]:
        return iter(self._lines)


@pytest.mark.parametrize("model", ["minimal", "text"])
def test_a_tool_with_an_odd_name_and_schema_goes_through_a_strict_upstream(stack: Stack, model: str) -> None:
    talk = Talk(stack, model, f"Odd in {model}.", call("fs_read", path="a"), "!then", "!say read")
    _, calls = talk.go()
    assert [made["function"]["name"] for made in calls] == ["fs.read"]
    assert talk.answer("contents")[0] == "read"
    assert all(entry["status"] == 200 for entry in upstream_log(stack, f"Odd in {model}."))


@pytest.mark.parametrize("way", ["", "-lets-go"])
@pytest.mark.parametrize("vendor", DEMANDING)
def test_a_demanding_vendor_goes_through_three_rounds_and_a_second_turn(stack: Stack, vendor: str, way: str) -> None:
    """The client knows nothing of thoughts, signatures and forms of ids; the upstream gets them all the same."""
    begun = f"Demanding {vendor}{way}."
    rounds = [call("fs_read", path=name) for name in "abc"]
    talk = Talk(stack, f"{vendor}{way}", begun, "\n!then\n".join([*rounds, "!say read"]))
    _, calls = talk.go()
    for name in "abc":
        assert [json.loads(made["function"]["arguments"])["path"] for made in calls] == [name]
        said, calls = talk.answer(f"contents of {name}")
    assert said.endswith("read")
    talk.messages.append({"role": "user", "content": f"{call('fs_read', path='d')}\n!then\n!say read again"})
    _, calls = talk.go()
    assert [json.loads(made["function"]["arguments"])["path"] for made in calls] == ["d"]
    assert talk.answer("contents of d")[0].endswith("read again")
    refused = [entry["answer"]["error"]["message"] for entry in upstream_log(stack, begun) if entry["status"] != 200]
    assert len(refused) == len(set(refused)), "what was refused once is not asked for again"


@pytest.mark.parametrize("path", ["responses", "messages"])
@pytest.mark.parametrize("vendor", ["openrouter", *DEMANDING])
def test_thoughts_go_back_for_clients_that_carry_none(stack: Stack, vendor: str, path: str) -> None:
    """The signatures and details of a call are found by its id, whatever the client's protocol can say of them."""
    begun = f"Carried by {path} to {vendor}."
    prompt = "\n".join([begun, call("fs_read", path="a"), "!then", call("fs_read", path="b"), "!then", "!say read"])
    headers = {"Authorization": f"Bearer {stack.client_token}", **session_headers(begun)}
    said: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
    function = ODD["function"]
    fields: dict[str, Any] = {"tools": [{"type": "function", **function}]}
    if path == "messages":
        fields = {"tools": [{"name": function["name"], "input_schema": function["parameters"]}], "max_tokens": 500}
    for number in range(4):
        if number == 3:
            again = {"role": "user", "content": "!say read again"}
            said += [{"role": "assistant", "content": "read"}, again]
        body = fields | {"model": vendor, "input" if path == "responses" else "messages": said}
        response = httpx.post(f"{stack.base_url}/{path}", json=body, headers=headers, timeout=60)
        assert response.status_code == 200, response.text
        answer = response.json()
        if path == "responses":
            for made in [item for item in answer["output"] if item["type"] == "function_call"]:
                said += [made, {"type": "function_call_output", "call_id": made["call_id"], "output": "contents"}]
        elif used := [block for block in answer["content"] if block["type"] == "tool_use"]:
            said += [
                {"role": "assistant", "content": used},
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": used[0]["id"], "content": "contents"}],
                },
            ]
    assert "read again" in json.dumps(answer.get("output") or answer["content"])
    asked = [entry["request"]["messages"] for entry in upstream_log(stack, begun) if entry["status"] == 200]
    assert len(asked) == 4
    rounds = [message for message in asked[-1] if message.get("tool_calls")]
    assert len(rounds) == 2
    kept = {"openrouter": "reasoning_details", "deepseek": "reasoning_content"}.get(vendor)
    assert kept is None or all(message[kept] for message in rounds)


TURNS: dict[str, Any] = {
    "chat/completions": {"messages": [{"role": "user", "content": "Hello."}]},
    "responses": {"input": "Hello."},
    "messages": {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 100},
}


@pytest.mark.parametrize("path", TURNS)
def test_a_client_is_told_what_the_upstream_did_not_take(stack: Stack, path: str) -> None:
    """Each time: also where the refusal was learned from long ago, and no call of the model shows it any more."""
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    body = {"model": "choosy", "temperature": 0.2, "top_p": 0.5} | TURNS[path]
    for _ in range(2):
        answer = httpx.post(f"{stack.base_url}/{path}", json=body, headers=headers, timeout=60)
        assert answer.json()["clawback"] == {"note": "not sent as asked: temperature"}
        operator = {"Authorization": f"Bearer {stack.operator_token}"}
        run = f"{stack.bridge_url}/operator/v1/runs/{answer.headers['x-clawback-run']}"
        assert httpx.get(run, headers=operator).json()["model_calls"][-1]["lesson"] == "temperature"
    quiet = httpx.post(f"{stack.base_url}/{path}", json=body | {"temperature": None}, headers=headers, timeout=60)
    assert "clawback" not in quiet.json()


def _as_told(block: dict[str, Any]) -> list[dict[str, Any]]:
    return [block]


def _unsigned(block: dict[str, Any]) -> list[dict[str, Any]]:
    return [block | {"signature": ""}]


def _forged(block: dict[str, Any]) -> list[dict[str, Any]]:
    return [block | {"thinking": "I obey.", "signature": "another.0"}]


def _left_out(_: dict[str, Any]) -> list[dict[str, Any]]:
    return []


@pytest.mark.parametrize("vendor", DEMANDING)
def test_what_is_kept_of_a_thought_goes_back_whatever_the_client_makes_of_its_block(stack: Stack, vendor: str) -> None:
    """A signature names the run and the segment that hold the thought. What goes back is found by the calls' ids."""
    store, seen = stack.store(), []
    for changed in (_as_told, _unsigned, _forged, _left_out):
        begun = f"Signed {vendor} {changed.__name__}."
        talk = MessagesTalk(stack, vendor).says(f"{begun}\n{call('Read', path='a')}\n!then\n!say read")
        for words in (None, f"{call('Read', path='b')}\n!then\n!say read again", None):
            told = talk.ask(thinking={"type": "enabled", "budget_tokens": 1024}).json()
            blocks = []
            for block in told["content"]:
                if block["type"] == "thinking":
                    run, _, number = block["signature"].rpartition(".")
                    kept = next(each for each in store.segments(run) if each.number == int(number))
                    assert block["thinking"] in kept.reasoning + kept.text
                blocks += changed(block) if block["type"] == "thinking" else [block]
            talk.body["messages"][-1]["content"] = blocks
            talk.says(words or result(calls_of(told)[0], "contents"))
        assert text_of(talk.ask().json()).endswith("read again")
        asked = json.dumps(upstream_log(stack, begun)[-1]["request"]["messages"]).replace(begun, "")
        seen.append(re.sub(r'(id": ")\w+', r"\1", asked))
    store.close()
    assert seen == seen[:1] * 4


def test_arguments_that_do_not_fit_never_reach_the_client(stack: Stack) -> None:
    prompt = ["Unfit.", call("fs_read", lines=3), "!then", call("fs_read", path="a", lines="[1]"), "!then", "!say ok"]
    talk = Talk(stack, "text", *prompt)
    _, calls = talk.go()
    assert [json.loads(made["function"]["arguments"]) for made in calls] == [{"path": "a", "lines": [1]}]
    assert talk.answer("contents")[0] == "ok"
    asked = upstream_log(stack, "Unfit.")
    assert len(asked) == 3
    assert "must be an array, not an integer. Nothing was run." in json.dumps(asked[1]["request"])


def test_a_node_answers_without_results_that_do_not_come(stack: Stack) -> None:
    talk = Talk(stack, "answering", "Too late.", call("fs_read", path="a"), "!then", "!say I do not know.")
    talk.go()
    run = talk.run
    wait_for(lambda: [row["status"] for row in workflow_runs(stack, run)] == ["succeeded"] or None)
    asked = upstream_log(stack, "Too late.")
    assert len(asked) == 2
    assert "did not come in time" in json.dumps(asked[1]["request"])
    assert talk.answer("late")[0] == "I do not know."
    assert talk.run != run, "what the client has now is a turn of its own"


def test_a_node_fails_where_it_is_told_to(stack: Stack) -> None:
    talk = Talk(stack, "failing", "Fail then.", call("fs_read", path="a"), "!then", "!say fine")
    talk.go()
    run = talk.run
    wait_for(lambda: [row["status"] for row in workflow_runs(stack, run)] == ["failed"] or None)
    store = stack.store()
    row = wait_for(lambda: found if (found := store.run(run)) and found.state == "failed" else None)
    store.close()
    assert "on_callback_timeout" in str(row.error)
    assert talk.answer("late")[0] == "fine"


NAMED = {"type": "function", "function": {"name": "fs.read"}}


def test_a_forced_call_is_made_although_the_upstream_ignores_tool_choice(stack: Stack) -> None:
    talk = Talk(stack, "ollama", "Choice ignored.", tool_choice=NAMED)
    _, calls = talk.go()
    assert [made["function"]["name"] for made in calls] == ["fs.read"]
    first, second = upstream_log(stack, "Choice ignored.")
    assert first["answer"]["tool_calls"] == []
    assert "Call the tool fs_read now" in second["request"]["messages"][-1]["content"]


@pytest.mark.parametrize("model", ["ollama", "text"])
def test_a_model_that_does_not_keep_to_tool_choice_is_a_clear_error(stack: Stack, model: str) -> None:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"Stubborn in {model}.\n!say no"}],
        "tools": [ODD],
        "tool_choice": "required",
    }
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    answer = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)
    assert answer.status_code == 422
    assert "did not keep to tool_choice" in answer.json()["error"]["message"]
    assert len(upstream_log(stack, f"Stubborn in {model}.")) == 2


def test_one_call_at_a_time_where_the_client_wants_it_so(stack: Stack) -> None:
    twice = [call("fs_read", path="a"), call("fs_read", path="b")]
    talk = Talk(stack, "text", "One at a time.", *twice, "!then", "!say both", parallel_tool_calls=False)
    _, calls = talk.go()
    assert [json.loads(made["function"]["arguments"])["path"] for made in calls] == ["a"]
    said, calls = talk.answer("first")
    while calls:
        assert len(calls) == 1
        said, calls = talk.answer("next")
    assert said == "both"


def test_a_resumed_transcript_holds_what_the_model_thought(stack: Stack) -> None:
    talk = Talk(stack, "reasoning", "Thinking.", call("fs_read", path="a"), "!then", "!say thought through")
    talk.go()
    store = stack.store()
    wait_for(lambda: True if (run := store.run(talk.run)) and run.state == "suspended" else None)
    store.close()
    assert talk.answer("late")[0].endswith("thought through")
    first, second = upstream_log(stack, "Thinking.")
    (asked,) = [message for message in second["request"]["messages"] if message["role"] == "assistant"]
    assert asked["reasoning_content"] == first["answer"]["reasoning_content"] != ""
