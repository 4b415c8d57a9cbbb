"""A client asks a chatflow, its LLM node asks for local tools, they run, and the answer comes out of the same run."""

from pathlib import Path

import httpx
import pytest

from demo import task
from demo.local_tools import DEFINITIONS
from demo.stack import EXAMPLES, Stack
from tests.e2e.conftest import MakeClient, MakeStack, call, export_with, upstream_log, workflow_runs


@pytest.mark.parametrize("app", EXAMPLES)
def test_a_turn_of_three_rounds_is_one_workflow_run(
    app: str, stack: Stack, make_client: MakeClient, tmp_path: Path
) -> None:
    task.prepare(tmp_path)
    outcome = make_client(stack, app).ask(task.scripted_request())
    assert (tmp_path / "open.md").read_text().count("- [ ]") == 3
    assert "send the invoice" in outcome.reply.text
    assert outcome.reply.finish_reason == "stop"
    assert outcome.http_requests == 4
    (run_id,) = outcome.runs
    assert [row["status"] for row in workflow_runs(stack, run_id)] == ["succeeded"]


def test_parallel_calls_come_together_and_their_results_go_back_in_order(
    stack: Stack, make_client: MakeClient, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("alpha")
    (tmp_path / "b").write_text("beta")
    outcome = make_client(stack).ask(
        "\n".join(["Read both.", call("read", path="a"), call("read", path="b"), call("exec", command="echo gamma")])
    )
    assert outcome.http_requests == 2
    answered = upstream_log(stack, "Read both.")[-1]["request"]["messages"]
    assert [m["content"] for m in answered if m["role"] == "tool"] == ["alpha", "beta", "gamma"]


def test_text_before_the_calls_arrives_with_them(stack: Stack, make_client: MakeClient) -> None:
    client = make_client(stack)
    outcome = client.ask(
        "\n".join(["Say and do.", "!say Let me look.", call("exec", command="echo 1"), "!then", "!say Done."])
    )
    assert [m["content"] for m in client.messages if m["role"] == "assistant"] == ["Let me look.", "Done."]
    assert outcome.reply.text == "Done."


def test_usage_is_that_of_the_last_prompt_and_grows_with_it(stack: Stack, make_client: MakeClient) -> None:
    replies = []
    client = make_client(stack, tell=lambda kind, detail: replies.append(detail) if kind == "calls" else None)
    outcome = client.ask("\n".join(["Count.", call("exec", command="seq 1 500"), "!then", "!say ok"]))
    asked = upstream_log(stack, "Count.")
    assert outcome.reply.usage["prompt_tokens"] == asked[-1]["answer"]["usage"]["prompt_tokens"]
    assert asked[-1]["answer"]["usage"]["prompt_tokens"] > asked[0]["answer"]["usage"]["prompt_tokens"] + 300


def test_a_whole_body_instead_of_a_stream(stack: Stack) -> None:
    def ask(messages: list[dict[str, object]]) -> dict[str, object]:
        response = httpx.post(
            f"{stack.base_url}/chat/completions",
            json={"model": "minimal", "messages": messages, "tools": DEFINITIONS, "user": "whole-body"},
            headers={"Authorization": f"Bearer {stack.client_token}"},
            timeout=60,
        )
        assert response.status_code == 200, response.text
        choice = response.json()["choices"][0]
        assert response.json()["usage"]["total_tokens"] > 0
        return choice  # type: ignore[no-any-return]

    messages: list[dict[str, object]] = [{"role": "user", "content": f"Whole.\n{call('exec', command='x')}"}]
    first = ask(messages)
    assert first["finish_reason"] == "tool_calls"
    said = first["message"]
    assert isinstance(said, dict)
    (asked,) = said["tool_calls"]
    result = {"role": "tool", "tool_call_id": asked["id"], "content": "forty-two"}
    second = ask([*messages, said, result])
    assert second["finish_reason"] == "stop"
    assert "forty-two" in str(second["message"])


def test_a_node_may_offer_only_some_tools(make_stack: MakeStack, make_client: MakeClient, tmp_path: Path) -> None:
    stack = make_stack(apps=[], exports={"some": export_with(tmp_path, "minimal", allowed_tools="read,write")})
    make_client(stack, "some").ask("Only some.")
    (asked,) = upstream_log(stack, "Only some.")
    assert [tool["function"]["name"] for tool in asked["request"]["tools"]] == ["read", "write"]


def test_the_round_limit_ends_with_an_answer_and_not_with_an_error(
    make_stack: MakeStack, make_client: MakeClient, tmp_path: Path
) -> None:
    stack = make_stack(apps=[], exports={"two": export_with(tmp_path, "minimal", max_tool_call_rounds=2)})
    rounds = [line for number in range(5) for line in (call("exec", command=f"echo {number}"), "!then")]
    outcome = make_client(stack, "two").ask("\n".join(["Go on and on.", *rounds]))
    asked = upstream_log(stack, "Go on and on.")
    assert len(asked) == 3
    assert "tools" not in asked[-1]["request"]
    assert outcome.reply.finish_reason == "stop"
    assert outcome.reply.text


def test_the_pipelines_worker_follows_the_plan_of_a_node_without_callbacks(
    stack: Stack, make_client: MakeClient
) -> None:
    outcome = make_client(stack, "pipeline").ask("Plan and do.\n!say the worker's words")
    planner, worker = (entry["request"] for entry in upstream_log(stack, "Plan and do."))
    assert "tools" not in planner
    assert "tools" in worker
    plan = upstream_log(stack, "Plan and do.")[0]["answer"]["content"]
    assert plan in worker["messages"][0]["content"]
    assert outcome.reply.text == "the worker's words"


def test_the_router_asks_the_model_that_the_classifier_chose(stack: Stack, make_client: MakeClient) -> None:
    make_client(stack, "router").ask("Just a word, please.")
    make_client(stack, "router").ask(f"Work hard, please.\n{call('exec', command='true')}")
    easy = [
        entry["request"]["model"]
        for entry in upstream_log(stack, "Just a word, please.")
        if entry["request"].get("tools")
    ]
    hard = [
        entry["request"]["model"]
        for entry in upstream_log(stack, "Work hard, please.")
        if entry["request"].get("tools")
    ]
    assert set(easy) == {"scripted-light"}
    assert set(hard) == {"scripted"}
