"""A node that ends with its calls: the flow sees them, the client gets them, and the run goes on with the results."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from demo import openclaw, task
from demo.client import ClientError, session_headers
from demo.local_tools import DEFINITIONS
from demo.stack import ROOT, Stack
from tests.e2e.conftest import MakeClient, MakeStack, call, export_with, stream, upstream_log, workflow_runs
from tests.e2e.test_survives import begin, results, text, tool_calls

LLM, ANSWER = "1770000000002", "1770000000003"
CHECK, CHECKED = "1770000000004", "1770000000005"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stopping")
    exports = {
        "minimal": export_with(folder, "minimal", stop_after_tool_calls=True),
        "checked": checked(folder, "Checked and noted."),
        "refusing": checked(folder, "", node=_RAISES),
        "pipeline": export_with(folder, "pipeline", stop_after_tool_calls=True),
    }
    with Stack(folder, apps=[], exports=exports, bridge_settings={"keepalive_seconds": 0.5}) as running:
        yield running


_RAISES: dict[str, Any] = {
    "type": "code",
    "title": "Refuse",
    "code_language": "python3",
    "code": "def main():\n    raise ValueError('not these calls')\n",
    "variables": [],
    "outputs": {"result": {"type": "string"}},
}


def checked(folder: Path, answer: str, node: dict[str, Any] | None = None) -> Path:
    """A flow that branches on whether its LLM node ended with calls."""
    export = yaml.safe_load(export_with(folder, "minimal", stop_after_tool_calls=True).read_text())
    graph = export["workflow"]["graph"]
    condition = {"comparison_operator": "contains", "value": "[END_TOOL_REQUEST]", "variable_selector": [LLM, "text"]}
    cases = [
        {"case_id": "true", "logical_operator": "and", "conditions": [condition | {"id": "c", "varType": "string"}]}
    ]
    shown = {"type": "answer", "title": "Checked", "answer": f"{{{{#{LLM}.text#}}}}\n{answer}", "variables": []}
    graph["nodes"] += [
        {"id": CHECK, "data": {"type": "if-else", "title": "Calls?", "cases": cases}},
        {"id": CHECKED, "data": node or shown},
    ]
    graph["edges"] = [edge for edge in graph["edges"] if edge["source"] != LLM]
    for source, handle, target in [
        (LLM, "source", CHECK),
        (CHECK, "true", CHECKED),
        (CHECK, "false", ANSWER),
    ]:
        graph["edges"].append({"id": f"{source}-{target}", "source": source, "sourceHandle": handle, "target": target})
    path = folder / f"checked-{len(list(folder.glob('*.yml')))}.yml"
    path.write_text(yaml.safe_dump(export))
    return path


@pytest.mark.parametrize("app", ["minimal", "pipeline"])
def test_the_task_is_done_in_one_run_and_a_workflow_run_for_each_round(
    app: str, stack: Stack, make_client: MakeClient, tmp_path: Path
) -> None:
    task.prepare(tmp_path)
    client = make_client(stack, app)
    outcome = client.ask(f"Stop in {app}.\n!say Let me look.\n{task.scripted_request()}\n!then\n!say Done.")
    assert (tmp_path / "open.md").read_text().count("- [ ]") == 3
    assert [m["content"] for m in client.messages if m["role"] == "assistant"] == ["Let me look.", None, None, "Done."]
    (run,) = outcome.runs
    assert [row["status"] for row in workflow_runs(stack, run)] == ["succeeded"] * 4
    rounds = [entry for entry in upstream_log(stack, f"Stop in {app}.") if entry["request"].get("tools")]
    assert len(rounds) == 4, "a finished round was asked for again"


def test_the_next_turn_is_the_same_conversation(stack: Stack, make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(stack)
    for number in (1, 2):
        prompt = f"Turn {number} of stopping.\n{call('exec', command=f'echo {number}')}\n!then\n!say done {number}"
        assert client.ask(prompt).reply.text == f"done {number}"
    last = upstream_log(stack, "Turn 2 of stopping.")[-1]["request"]["messages"]
    assert [m["content"] for m in last if m["role"] == "tool"] == ["1", "2"]
    assert sum("Turn 1 of stopping." in str(m["content"]) for m in last) == 1


def test_a_flow_branches_on_the_calls_and_its_words_come_with_them(stack: Stack, make_client: MakeClient) -> None:
    client = make_client(stack, "checked")
    prompt = ["Check.", "!say I would run this.", call("exec", command="echo 1"), "!then", "!say The end."]
    assert client.ask("\n".join(prompt)).reply.text == "The end."
    said = [message["content"] for message in client.messages if message["role"] == "assistant"]
    assert said == ["I would run this.\nChecked and noted.", "The end."]


def test_a_flow_that_fails_behind_the_calls_keeps_them_from_the_client(stack: Stack, make_client: MakeClient) -> None:
    client = make_client(stack, "refusing")
    with pytest.raises(ClientError):
        client.ask(f"Refuse.\n{call('exec', command='echo 1')}")
    assert len(client.messages) == 1


def test_the_calls_wait_for_no_one(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(apps=[], exports={"minimal": export_with(tmp_path, "minimal", stop_after_tool_calls=True)})
    transcript = begin(stack, f"Stopped.\n{call('exec', command='x')}\n!then\n!say there", "stopped")
    stack.bridge.kill()
    stack.bridge.start()
    follow_up = [*transcript, *results(transcript, "the result")]
    for _ in range(2):
        with stream(stack, ask(follow_up), **session_headers("stopped")) as response:
            assert text(response) == "there"
            run = response.headers["x-clawback-run"]
    assert [row["status"] for row in workflow_runs(stack, run)] == ["succeeded", "succeeded"]
    assert len(upstream_log(stack, "Stopped.")) == 2


def ask(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"model": "minimal", "messages": messages, "tools": DEFINITIONS}


def test_a_client_of_text_gets_the_calls_once(stack: Stack) -> None:
    body = ask([{"role": "user", "content": f"Once.\n!say I look.\n{call('exec', command='x')}"}])
    with stream(stack, {**body, "tool_call_mode": "openclaw_text"}) as response:
        assert text(response) == '[exec]\n{"command": "x"}\n[END_TOOL_REQUEST]'


def test_two_nodes_that_stop_at_once_are_answered_one_after_the_other(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(apps=[], exports={"minimal": twins(tmp_path)})
    transcript = begin(stack, f"Twins.\n{call('exec', command='x')}\n!then\n!say fine", "twins")
    for _ in range(2):
        transcript += results(transcript, "ok")
        with stream(stack, ask(transcript), **session_headers("twins")) as response:
            answer = httpx.Response(200, text="\n".join(response.iter_lines()))
        transcript.append({"role": "assistant", "content": text(answer) or None, "tool_calls": tool_calls(answer)})
    assert text(answer) == "fine and fine"
    assert len({made["id"] for message in transcript for made in message.get("tool_calls", ())}) == 2


def twins(folder: Path) -> Path:
    """Two LLM nodes side by side, and one answer of both."""
    export = yaml.safe_load((ROOT / "examples" / "minimal.yml").read_text())
    graph = export["workflow"]["graph"]
    nodes = {node["id"]: node for node in graph["nodes"]}
    nodes[LLM]["data"]["model"]["completion_params"]["stop_after_tool_calls"] = True
    other = yaml.safe_load(yaml.safe_dump(nodes[LLM])) | {"id": CHECK}
    other["data"]["prompt_template"][0]["text"] = "You are the other one."
    graph["nodes"].append(other)
    nodes[ANSWER]["data"]["answer"] = f"{{{{#{LLM}.text#}}}} and {{{{#{CHECK}.text#}}}}"
    start = next(edge["source"] for edge in graph["edges"] if edge["target"] == LLM)
    for source, target in [(start, CHECK), (CHECK, ANSWER)]:
        graph["edges"].append(
            {"id": f"{source}-{target}", "source": source, "sourceHandle": "source", "target": target}
        )
    path = folder / "twins.yml"
    path.write_text(yaml.safe_dump(export))
    return path


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_calls_that_a_person_decides_on_after_the_workflow_run_has_ended(
    decision: str, make_stack: MakeStack, make_client: MakeClient, tmp_path: Path
) -> None:
    stack = make_stack(apps=[], exports={"minimal": export_with(tmp_path, "minimal", stop_after_tool_calls=True)})
    operator = ask_for_everything(stack)
    prompt = f"Decide.\n{call('exec', command='echo ran')}\n!then"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(make_client(stack).ask, prompt)
        waiting = wait_for_a_question(stack, operator)
        body = {"by": "ada"} | ({"reason": "Not now."} if decision == "deny" else {})
        url = f"{stack.bridge_url}/operator/v1/calls/{waiting['id']}/{decision}"
        assert httpx.post(url, json=body, headers=operator).status_code == 200
        outcome = asked.result(timeout=30)
    assert ("ran" if decision == "approve" else "Not now.") in outcome.reply.text
    assert outcome.http_requests == (2 if decision == "approve" else 1)
    (run,) = outcome.runs
    assert [row["status"] for row in workflow_runs(stack, run)] == ["succeeded", "succeeded"]


def ask_for_everything(stack: Stack) -> dict[str, str]:
    """Start the bridge again with a policy that has a person decide on every call. Return the person's headers."""
    (stack.folder / "policy.toml").write_text('[[rules]]\ndirection = "endpoint"\naction = "ask"\n')
    config = stack.folder / "clawback.toml"
    config.write_text(f"policy = {json.dumps(str(stack.folder / 'policy.toml'))}\n{config.read_text()}")
    stack.bridge.kill()
    stack.bridge.start()
    return {"Authorization": f"Bearer {stack.operator_token}"}


def wait_for_a_question(stack: Stack, operator: dict[str, str]) -> dict[str, Any]:
    """Return the call that waits for a person, once the workflow run that asked for it has ended."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ended = [row["status"] for row in httpx.get(f"{stack.box_url}/box/state").json()["runs"]] == ["succeeded"]
        calls = httpx.get(f"{stack.bridge_url}/operator/v1/approvals", headers=operator).json()["calls"]
        if ended and calls:
            return dict(calls[0])
        time.sleep(0.05)
    raise AssertionError("no call waits for a decision")


@pytest.mark.openclaw
@pytest.mark.timeout(240)
def test_openclaw_works_through_a_node_that_stops(stack: Stack, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    task.prepare(workspace)
    prompt = f"Stop for OpenClaw.\n{task.scripted_request()}\n!then\n!say All noted."
    envelope = openclaw.turn(tmp_path / "home", workspace, stack.base_url, stack.client_token, "checked", prompt)
    assert envelope["ok"], envelope
    assert envelope["toolSummary"] == {"calls": 4, "tools": ["read", "exec"], "failures": 0}
    assert envelope["final"].strip() == "All noted."
