"""A client that asks for calls as text gets them so, and its results find home in whatever turns they come."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from demo.client import session_headers
from demo.local_tools import DEFINITIONS
from demo.stack import Stack
from tests.e2e.conftest import call, stream, upstream_log, workflow_runs
from tests.e2e.test_survives import text, tool_calls
from tools.openclaw_text.writer import write_openclaw_calls

PARALLEL = [("read", {"path": "a"}), ("exec", {"command": "ls"})]
ONE = [("read", {"path": "b"})]

type Transcript = list[dict[str, Any]]


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def post(stack: Stack, session: str, messages: Transcript, **body: Any) -> tuple[str, str]:
    """Ask for calls as text; return the answer and the run."""
    asked = {"model": "minimal", "messages": messages, "tools": DEFINITIONS, "tool_call_mode": "openclaw_text", **body}
    with stream(stack, asked, **session_headers(session)) as response:
        assert response.status_code == 200, response.read()
        chunks = [line for line in response.iter_lines() if line.startswith("data: {")]
        run = response.headers["x-clawback-run"]
    assert '"tool_calls"' not in "".join(chunks)
    return text_of_chunks(chunks), run


def text_of_chunks(chunks: list[str]) -> str:
    response = httpx.Response(200, text="\n".join(chunks))
    return text(response)


def in_marks(outputs: list[str], names: list[str]) -> Transcript:
    blocks = [f"[{name}]\n{output}\n[END_TOOL_RESULT]" for name, output in zip(names, outputs, strict=True)]
    return [user("\n".join(blocks))]


def one_each(outputs: list[str], _: list[str]) -> Transcript:
    return [user(output) for output in outputs]


@pytest.mark.parametrize("answered", [in_marks, one_each])
def test_results_in_plain_turns_go_on_with_the_same_workflow_run(
    answered: Callable[[list[str], list[str]], Transcript], stack: Stack
) -> None:
    first, second = [call(name, **arguments) for name, arguments in PARALLEL], call("read", path="b")
    name = f"Plain turns, {answered.__name__}."
    transcript = [user("\n".join([name, "!say Let me look.", *first, "!then", second, "!then", "!say Done."]))]
    session = answered.__name__
    asked, run = post(stack, session, transcript)
    assert asked == write_openclaw_calls(PARALLEL)
    transcript += [{"role": "assistant", "content": asked}, *answered(["alpha", "beta"], ["read", "exec"])]
    asked, same_run = post(stack, session, transcript)
    assert (asked, same_run) == (write_openclaw_calls(ONE), run)
    transcript += [{"role": "assistant", "content": asked}, *answered(["gamma"], ["read"])]
    assert post(stack, session, transcript) == ("Done.", run)
    assert [row["status"] for row in workflow_runs(stack, run)] == ["succeeded"]
    told = upstream_log(stack, name)[-1]["request"]["messages"]
    assert [message["content"] for message in told if message["role"] == "tool"] == ["alpha", "beta", "gamma"]
    transcript += [{"role": "assistant", "content": "Done."}, user(f"{name} And now?\n!say Nothing.")]
    answer, next_run = post(stack, session, transcript)
    assert answer == "Nothing."
    assert next_run != run
    told = upstream_log(stack, f"{name} And now?")[-1]["request"]["messages"]
    assert [message["content"] for message in told if message["role"] == "tool"] == ["alpha", "beta", "gamma"]


@pytest.mark.parametrize("keeps_calls", [True, False])
def test_results_in_the_body_may_have_ids_of_the_clients_own(keeps_calls: bool, stack: Stack) -> None:
    name = f"In the body, {keeps_calls}."
    transcript = [user("\n".join([name, *(call(tool, **arguments) for tool, arguments in PARALLEL)]))]
    asked, run = post(stack, name, transcript)
    results = [{"tool_call_id": f"hash{n}", "output": output} for n, output in enumerate(["alpha", "beta"])]
    if keeps_calls:
        transcript.append({"role": "assistant", "content": asked})
    answer, same_run = post(stack, name, transcript, tool_results=results)
    assert same_run == run
    assert 'read: "alpha", exec: "beta"' in answer


def test_the_same_results_again_get_the_same_answer(stack: Stack) -> None:
    transcript = [user(f"Text again.\n{call('exec', command='x')}\n!then\n!say one answer")]
    asked, run = post(stack, "text-again", transcript)
    transcript += [{"role": "assistant", "content": asked}, user("ok")]
    assert [post(stack, "text-again", transcript) for _ in range(2)] == [("one answer", run)] * 2
    assert len(upstream_log(stack, "Text again.")) == 2


def test_a_client_without_a_session_name_goes_on_too(stack: Stack) -> None:
    body = {"model": "minimal", "tools": DEFINITIONS, "tool_call_mode": "openclaw_text"}
    transcript = [user(f"Nobody's text.\n{call('exec', command='x')}\n!then\n!say heard")]
    runs = []
    for answer in ("ok", None):
        with stream(stack, {**body, "messages": transcript}) as response:
            said = text(httpx.Response(200, text="\n".join(response.iter_lines())))
            runs.append(response.headers["x-clawback-run"])
        transcript += [{"role": "assistant", "content": said}, user(answer or "")]
    assert said == "heard"
    assert runs[0] == runs[1]


def test_a_chatflows_own_text_is_defused_for_such_a_client_too(stack: Stack) -> None:
    block = write_openclaw_calls([("exec", {"command": "rm -r x"})])
    lines = [f"!say {line}" for line in block.splitlines()]
    answer, _ = post(stack, "defused", [user("\n".join(["Only text, for a text client.", *lines]))], tools=[])
    assert "rm -r x" in answer
    assert block not in answer


def test_a_structured_client_gets_no_text_of_calls(stack: Stack) -> None:
    asked = {"model": "minimal", "messages": [user(f"Structured.\n{call('exec', command='x')}")], "tools": DEFINITIONS}
    with stream(stack, asked) as response:
        lines = httpx.Response(200, text="\n".join(response.iter_lines()))
    assert [made["function"]["name"] for made in tool_calls(lines)] == ["exec"]
    assert text(lines) == ""
