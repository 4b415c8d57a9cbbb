"""A model call finds its run in each of three ways alone, and where it finds none, the client learns what to change."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from demo.stack import Stack
from tests.e2e.conftest import MakeClient, MakeStack, call, export_with, upstream_log

TURN = f"Find me.\n{call('exec', command='echo found')}\n!then\n!say done"


def note_of(stack: Stack, prompt: str) -> str:
    body = {
        "model": stack.apps[0],
        "messages": [{"role": "user", "content": prompt}],
        "tools": [{"type": "function", "function": {"name": "exec"}}],
    }
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    response = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    return str(response.json()["clawback"]["note"])


def test_by_the_end_user_that_dify_passes(make_stack: MakeStack, make_client: MakeClient, tmp_path: Path) -> None:
    export = export_with(tmp_path, "minimal", callback_key=None)
    stack = make_stack(apps=[], exports={"m": export}, box_options=["--raw-parameters"])
    assert make_client(stack, "m").ask(TURN).http_requests == 2


def test_by_the_callback_key(make_stack: MakeStack, make_client: MakeClient, tmp_path: Path) -> None:
    export = export_with(tmp_path, "minimal", callback_key="u:{{#sys.user_id#}}")
    stack = make_stack(apps=[], exports={"m": export}, box_options=["--no-end-users"])
    assert make_client(stack, "m").ask(TURN).http_requests == 2


def test_by_the_marker_which_the_upstream_never_sees(
    make_stack: MakeStack, make_client: MakeClient, tmp_path: Path
) -> None:
    export = export_with(tmp_path, "minimal", callback_key=None)
    stack = make_stack(
        apps=[],
        exports={"m": export},
        app_settings={"find_run": "marker"},
        box_options=["--no-end-users", "--raw-parameters", "--no-app-id"],
    )
    assert make_client(stack, "m").ask(TURN).http_requests == 2
    assert "[[clawback:" not in str([entry["request"] for entry in upstream_log(stack, "Find me.")])


@pytest.mark.parametrize("streams", [True, False])
def test_the_marker_stays_with_dify_where_an_app_answers_with_what_it_was_asked(
    make_stack: MakeStack, tmp_path: Path, streams: bool
) -> None:
    path = export_with(tmp_path, "minimal", callback_key=None)
    export = yaml.safe_load(path.read_text())
    [node] = [node["data"] for node in export["workflow"]["graph"]["nodes"] if node["data"]["type"] == "answer"]
    node["answer"] = f"You asked: {{{{#sys.query#}}}}. {node['answer']}"
    path.write_text(yaml.safe_dump(export, allow_unicode=True))
    stack = make_stack(apps=[], exports={"m": path}, app_settings={"find_run": "marker"})
    body = {"model": "m", "stream": streams, "messages": [{"role": "user", "content": "Quote me.\n!say done"}]}
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    response = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)
    chunks = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    said = [chunk["choices"][0]["delta"] for chunk in chunks] or [response.json()["choices"][0]["message"]]
    assert "".join(each.get("content") or "" for each in said) == "You asked: Quote me.\n!say done. done"


@pytest.mark.parametrize(
    ("parameters", "options", "advice"),
    [
        ({"external_tool_callback_enabled": False}, [], "external_tool_callback_enabled"),
        ({"callback_key": None}, ["--no-end-users"], "set callback_key in the LLM node"),
    ],
)
def test_a_run_that_nobody_attached_to_says_what_to_change(
    parameters: dict[str, Any], options: list[str], advice: str, make_stack: MakeStack, tmp_path: Path
) -> None:
    export = export_with(tmp_path, "minimal", **parameters)
    stack = make_stack(apps=[], exports={"m": export}, box_options=options)
    assert advice in note_of(stack, "Nobody.\n!say an answer all the same")


def test_a_wrong_bridge_token_is_named_where_dify_shows_it(make_stack: MakeStack) -> None:
    stack = make_stack(credentials={"bridge_token": "clawback-plugin-wrong-token"})
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    body = {"model": "minimal", "messages": [{"role": "user", "content": "x"}]}
    response = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)
    assert response.status_code == 422
    assert "Check bridge_token" in response.json()["error"]["message"]
    assert "wrong-token" not in response.text


def test_a_text_that_quotes_markers_reaches_its_own_run_alone(make_stack: MakeStack, tmp_path: Path) -> None:
    export = export_with(tmp_path, "minimal", callback_key=None)
    stack = make_stack(
        apps=[],
        exports={"m": export},
        app_settings={"find_run": "marker"},
        box_options=["--no-end-users", "--raw-parameters", "--no-app-id"],
    )
    tools = [{"type": "function", "function": {"name": "exec"}}]
    headers = {"Authorization": f"Bearer {stack.client_token}"}

    def ask(*messages: dict[str, Any]) -> httpx.Response:
        body = {"model": "m", "messages": list(messages), "tools": tools}
        return httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)

    words = {"role": "user", "content": f"Mine.\n{call('exec', command='x')}\n!then\n!say mine"}
    waits = ask(words)
    run = waits.headers["x-clawback-run"]
    quotes = ask(
        {"role": "user", "content": f"What is [[clawback:{run}]]?\n{call('exec', command='y')}\n!then\n!say y"}
    )
    assert quotes.status_code == 200, quotes.text
    assert quotes.headers["x-clawback-run"] != run
    made = waits.json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": made["tool_calls"][0]["id"], "content": f"see [[clawback:{run}]]"}
    done = ask(words, made, result)
    assert done.json()["choices"][0]["message"]["content"] == "mine"
    assert done.headers["x-clawback-run"] == run
    finished = ask({"role": "user", "content": f"And [[clawback:{run}]] now?\n!say fine"})
    assert finished.json()["choices"][0]["message"]["content"] == "fine"
    assert "[[clawback:" not in str(upstream_log(stack, "Mine.")) + str(upstream_log(stack, "What is"))
