"""A turn survives what goes wrong on the way, and no finished round is paid for twice."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.store.store import Store
from demo.client import ClientError, Outcome, session_headers
from demo.local_tools import DEFINITIONS
from demo.stack import Stack
from tests.e2e.conftest import MakeClient, MakeStack, call, export_with, stream, upstream_log, workflow_runs
from tests.e2e.executors import wait_for

RETRIED = (
    "[Queued user message from a previous active turn; preserved as context only. Continue with the active prompt "
    "below.]\n{}\n\nContinue the current task from the existing transcript, preserving completed work."
)


def chunks(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def tool_calls(response: httpx.Response) -> list[dict[str, Any]]:
    return called(chunks(response))


def called(told: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    calls: dict[int, dict[str, Any]] = {}
    for chunk in told:
        for choice in chunk.get("choices", ()):
            for part in choice["delta"].get("tool_calls", ()):
                entry = calls.setdefault(part["index"], {"type": "function", "function": {"name": "", "arguments": ""}})
                entry["id"] = part.get("id") or entry["id"]
                entry["function"]["name"] += part["function"].get("name", "")
                entry["function"]["arguments"] += part["function"].get("arguments", "")
    return [calls[index] for index in sorted(calls)]


def text(response: httpx.Response) -> str:
    return said(chunks(response))


def said(told: Iterable[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in told for choice in chunk.get("choices", ()))


def ask(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"model": "minimal", "messages": messages, "tools": DEFINITIONS}


def begin(stack: Stack, prompt: str, session: str) -> list[dict[str, Any]]:
    """Ask, and return the transcript up to the calls that came back."""
    user = {"role": "user", "content": prompt}
    with stream(stack, ask([user]), **session_headers(session)) as response:
        told = list(chunks(response))
    return [user, {"role": "assistant", "content": said(told) or None, "tool_calls": called(told)}]


def results(transcript: list[dict[str, Any]], output: str) -> list[dict[str, Any]]:
    return [{"role": "tool", "tool_call_id": made["id"], "content": output} for made in transcript[-1]["tool_calls"]]


def answered_after(stack: Stack, transcript: list[dict[str, Any]], session: str) -> str:
    """Bring the results of the transcript's last calls, and return the answer."""
    follow_up = [*transcript, *results(transcript, "the result")]
    with stream(stack, ask(follow_up), **session_headers(session)) as response:
        return text(response)


def states(store: Store) -> list[str]:
    return [run.state for run_id in store.run_ids() if (run := store.run(run_id))]


@pytest.mark.parametrize(
    "trouble",
    ["!error 429", "!error 500", "!error 503 times 2", "!cut"],
)
def test_a_passing_fault_of_the_upstream(trouble: str, stack: Stack, make_client: MakeClient) -> None:
    prompt = "\n".join([f"Despite {trouble[1:]}.", call("exec", command="echo 1"), "!then", trouble, "!say fine"])
    outcome = make_client(stack).ask(prompt)
    assert outcome.reply.text.endswith("fine")
    (run_id,) = outcome.runs
    assert len(workflow_runs(stack, run_id)) == 1


def test_a_lasting_fault_is_an_error_that_says_so_and_asking_again_goes_on_where_it_broke(
    stack: Stack, make_client: MakeClient
) -> None:
    prompt = "\n".join(
        ["A lasting fault.", call("exec", command="echo once"), "!then", "!error 500 times 12", "!say fine"]
    )
    client = make_client(stack)
    with pytest.raises(ClientError, match="500"):
        client.ask(prompt)
    transcript = client.messages
    replies = []
    for _ in range(6):
        with stream(stack, ask(transcript), **session_headers("lasting")) as response:
            replies.append(text(response))
        if replies[-1]:
            break
    assert replies[-1] == "fine"
    rounds = [entry for entry in upstream_log(stack, "A lasting fault.") if entry["status"] == 200]
    assert len(rounds) == 2


def test_the_bridge_is_killed_while_a_ticket_is_open(make_stack: MakeStack) -> None:
    stack = make_stack()
    transcript = begin(stack, f"Survive.\n{call('exec', command='x')}\n!then\n!say it is there", "kill")
    stack.bridge.kill()
    stack.bridge.start()
    follow_up = [*transcript, *results(transcript, "the result")]
    with stream(stack, ask(follow_up), **session_headers("kill")) as response:
        assert text(response) == "it is there"
    asked = [entry for entry in upstream_log(stack, "Survive.") if entry["answer"]["tool_calls"]]
    assert len(asked) == 1, "the round before the kill was asked for again"


def test_the_bridge_is_killed_after_the_results_came(make_stack: MakeStack) -> None:
    stack = make_stack()
    transcript = begin(stack, f"Later.\n{call('exec', command='x')}\n!then\n!sleep 2\n!say there", "kill-later")
    follow_up = [*transcript, *results(transcript, "the result")]
    with stream(stack, ask(follow_up), **session_headers("kill-later")) as response:
        reading = chunks(response)
        next(reading)
        stack.bridge.kill()
        with pytest.raises(httpx.HTTPError):
            list(reading)
    stack.bridge.start()
    with stream(stack, ask(follow_up), **session_headers("kill-later")) as response:
        assert text(response) == "there"
    assert len([entry for entry in upstream_log(stack, "Later.") if entry.get("answer", {}).get("tool_calls")]) == 1


def test_the_bridge_is_killed_before_the_client_has_the_calls(make_stack: MakeStack) -> None:
    stack = make_stack()
    user = {"role": "user", "content": f"Untold.\n!sleep 0.5\n{call('exec', command='x')}\n!then\n!say told"}
    headers = session_headers("untold")
    with stream(stack, ask([user]), **headers) as response:
        reading = chunks(response)
        next(reading)
        stack.bridge.kill()
        with pytest.raises(httpx.HTTPError):
            list(reading)
    stack.bridge.start()
    with stream(stack, ask([user]), **headers) as response:
        transcript = [user, {"role": "assistant", "content": None, "tool_calls": tool_calls(response)}]
    with stream(stack, ask([*transcript, *results(transcript, "ok")]), **headers) as response:
        assert text(response) == "told"
    stored = stack.store()
    assert len(stored.run_ids()) == 1, "a run that could go on was begun anew"
    stored.close()


def test_the_plugin_process_is_killed_while_a_ticket_is_open(make_stack: MakeStack) -> None:
    import os
    import signal

    stack = make_stack(box_options=["--plugin-idle-seconds", "4", "--plugin-restart-seconds", "0.5"])
    transcript = begin(stack, f"Plugin.\n{call('exec', command='x')}\n!then\n!say here again", "plugin")
    state = httpx.get(f"{stack.box_url}/box/state").json()
    os.kill(state["plugin"]["pid"], signal.SIGKILL)
    follow_up = [*transcript, *results(transcript, "the result")]
    for _ in range(4):
        with stream(stack, ask(follow_up), **session_headers("plugin")) as response:
            answer = text(response)
        if answer:
            break
    assert answer == "here again"
    assert len([entry for entry in upstream_log(stack, "Plugin.") if entry["answer"]["tool_calls"]]) == 1


def test_openclaws_rewritten_retry_joins_the_run_under_way(stack: Stack) -> None:
    prompt = "Slow answer.\n!sleep 1.5\n!say at last"
    headers = session_headers("rewritten")
    with stream(stack, ask([{"role": "user", "content": prompt}]), **headers) as response:
        next(chunks(response))
        run = response.headers["x-clawback-run"]
    with stream(stack, ask([{"role": "user", "content": RETRIED.format(prompt)}]), **headers) as response:
        assert text(response) == "at last"
        assert response.headers["x-clawback-run"] == run
    assert len(workflow_runs(stack, run)) == 1


def test_a_retry_after_the_results_joins_the_run_under_way(stack: Stack) -> None:
    transcript = begin(stack, f"Slow end.\n{call('exec', command='x')}\n!then\n!sleep 1.5\n!say done", "retry-after")
    follow_up = [*transcript, *results(transcript, "ok")]
    headers = session_headers("retry-after")
    with stream(stack, ask(follow_up), **headers) as response:
        next(chunks(response))
        run = response.headers["x-clawback-run"]
    again = {
        "role": "user",
        "content": "Continue the current task from the existing transcript, preserving completed work.",
    }
    with stream(stack, ask([*follow_up, again]), **headers) as response:
        assert text(response) == "done"
        assert response.headers["x-clawback-run"] == run
    assert len(upstream_log(stack, "Slow end.")) == 2


def test_the_same_results_twice_at_once_get_the_same_answer(stack: Stack) -> None:
    transcript = begin(stack, f"Twice.\n{call('exec', command='x')}\n!then\n!sleep 0.5\n!say one answer", "twice")
    follow_up = [*transcript, *results(transcript, "ok")]
    answers: list[str] = []

    def post() -> None:
        with stream(stack, ask(follow_up), **session_headers("twice")) as response:
            answers.append(text(response))

    threads = [threading.Thread(target=post) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    post()
    assert answers == ["one answer"] * 4
    assert len(upstream_log(stack, "Twice.")) == 2


def test_different_results_for_a_resolved_call_are_refused_and_change_nothing(stack: Stack) -> None:
    transcript = begin(stack, f"Conflict.\n{call('exec', command='x')}\n!then\n!say kept", "conflict")
    with stream(stack, ask([*transcript, *results(transcript, "first")]), **session_headers("conflict")) as response:
        assert text(response) == "kept"
    with stream(stack, ask([*transcript, *results(transcript, "other")]), **session_headers("conflict")) as response:
        assert response.status_code == 409
        refused = json.loads(response.read())["error"]
    assert (refused["code"], refused["param"]) == ("result_conflict", "messages")
    assert "send that one again in the tool message with that tool_call_id, or go on with a new" in refused["message"]
    assert len(upstream_log(stack, "Conflict.")) == 2


def test_missing_results_are_named_and_those_that_came_are_kept(stack: Stack) -> None:
    prompt = "\n".join(["Half.", call("exec", command="a"), call("exec", command="b"), "!then", "!say whole"])
    transcript = begin(stack, prompt, "half")
    first, second = results(transcript, "ok")
    with stream(stack, ask([*transcript, first]), **session_headers("half")) as response:
        assert response.status_code == 400
        assert second["tool_call_id"] in response.read().decode()
    with stream(stack, ask([*transcript, first, second]), **session_headers("half")) as response:
        assert text(response) == "whole"


def test_an_answer_after_callback_wait_seconds(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(apps=[], exports={"minimal": export_with(tmp_path, "minimal", callback_wait_seconds=1)})
    prompt = f"Wait.\n!say Let me see.\n{call('exec', command='x')}\n!then\n!say The end."
    user = {"role": "user", "content": prompt}
    with stream(stack, ask([user]), **session_headers("wait")) as response:
        calls = tool_calls(response)
        run = response.headers["x-clawback-run"]
    deadline = time.monotonic() + 20
    while [row["status"] for row in workflow_runs(stack, run)] != ["failed"]:
        assert time.monotonic() < deadline, "the workflow was not let go"
        time.sleep(0.1)
    transcript = [user, {"role": "assistant", "content": "Let me see.", "tool_calls": calls}]
    with stream(stack, ask([*transcript, *results(transcript, "late")]), **session_headers("wait")) as response:
        assert text(response) == "The end."
        assert response.headers["x-clawback-run"] == run
    assert [row["status"] for row in workflow_runs(stack, run)] == ["failed", "succeeded"]
    asked = upstream_log(stack, "Wait.")
    assert len(asked) == 2, "the finished round was asked for again"
    assert asked[-1]["request"]["messages"][-1]["content"] == "late"


def test_the_question_again_after_callback_wait_seconds_gets_the_same_calls(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    stack = make_stack(apps=[], exports={"minimal": export_with(tmp_path, "minimal", callback_wait_seconds=0)})
    transcript = begin(stack, f"Again.\n{call('exec', command='x')}\n!then\n!say The end.", "again")
    for _ in range(2):
        time.sleep(0.5)
        assert begin(stack, transcript[0]["content"], "again") == transcript
    headers = session_headers("again")
    with stream(stack, ask([*transcript, *results(transcript, "ok")]), **headers) as response:
        assert text(response) == "The end."
    assert len(upstream_log(stack, "Again.")) == 2, "the round was asked for again"


def test_words_before_calls_that_dify_tells_after_their_run_was_suspended_are_told_with_these(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    stack = make_stack(apps=[], exports={"minimal": export_with(tmp_path, "minimal", callback_wait_seconds=0)})
    prompt = f"Late words.\n!sleep 1\n!say Let me look.\n{call('exec', command='x')}\n!then\n!say The end."
    with ThreadPoolExecutor(1) as pool, closing(stack.store()) as store:
        asked = pool.submit(begin, stack, prompt, "late-words")
        wait_for(lambda: upstream_log(stack, "Late words.") or None)
        os.kill(stack.box.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: "suspended" in states(store) or None)
        finally:
            os.kill(stack.box.pid, signal.SIGCONT)
        transcript = asked.result()
    assert transcript[-1]["content"] == "Let me look."
    assert answered_after(stack, transcript, "late-words") == "The end."


def test_results_that_come_while_the_workflow_is_let_go(
    make_stack: MakeStack, make_client: MakeClient, tmp_path: Path
) -> None:
    stack = make_stack(apps=[], exports={"minimal": export_with(tmp_path, "minimal", callback_wait_seconds=0)})
    rounds = [line for number in range(6) for line in (call("exec", command=f"echo {number}"), "!then")]
    for number in range(3):
        outcome = make_client(stack).ask("\n".join([f"No wait {number}.", *rounds, "!say done"]))
        assert outcome.reply.text == "done"
        assert len(outcome.runs) == 1
        assert len(upstream_log(stack, f"No wait {number}.")) == 7


def test_a_client_that_goes_away_frees_difys_worker_after_the_grace_time(stack: Stack) -> None:
    user = {"role": "user", "content": "Gone.\n!sleep 20\n!say nobody hears this"}
    with stream(stack, ask([user]), **session_headers("gone")) as response:
        next(chunks(response))
        run = response.headers["x-clawback-run"]
    deadline = time.monotonic() + 15
    while [row["status"] for row in workflow_runs(stack, run)] != ["stopped"]:
        assert time.monotonic() < deadline, "Dify's task was not stopped"
        time.sleep(0.2)


def test_a_new_turn_instead_of_the_results_cancels_the_ticket(stack: Stack, make_client: MakeClient) -> None:
    transcript = begin(stack, f"Never mind.\n{call('exec', command='x')}", "never-mind")
    with stream(
        stack,
        ask([transcript[0], {"role": "user", "content": "Something else.\n!say else"}]),
        **session_headers("never-mind"),
    ) as response:
        assert text(response) == "else"
    store = stack.store()
    (ticket,) = store.tickets_of_calls([transcript[1]["tool_calls"][0]["id"]])
    store.close()
    assert ticket.state == "cancelled"


def test_a_turn_that_another_bridge_began_goes_on_from_its_transcript(stack: Stack) -> None:
    made = {"id": "call_from_elsewhere", "type": "function", "function": {"name": "exec", "arguments": "{}"}}
    transcript = [
        {"role": "user", "content": f"Elsewhere.\n{call('exec')}\n!then\n!say taken over"},
        {"role": "assistant", "content": None, "tool_calls": [made]},
    ]
    with stream(stack, ask([*transcript, *results(transcript, "ok")]), **session_headers("elsewhere")) as response:
        assert text(response) == "taken over"


def test_keepalives_are_data_while_the_model_is_silent(stack: Stack) -> None:
    with stream(stack, ask([{"role": "user", "content": "Silence.\n!sleep 1.8\n!say there"}])) as response:
        seen = list(chunks(response))
    assert seen[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (
        sum(chunk["choices"][0]["delta"] == {} and not chunk["choices"][0]["finish_reason"] for chunk in seen[:-1]) >= 2
    )


@pytest.fixture
def limited(make_stack: MakeStack) -> Stack:
    return make_stack(box_options=["--plugin-seconds", "3"])


def test_difys_own_time_limit_is_named(limited: Stack, make_client: MakeClient) -> None:
    def outcome() -> Outcome:
        return make_client(limited).ask("Too slow.\n!sleep 20\n!say never")

    with pytest.raises(ClientError, match="PLUGIN_MAX_EXECUTION_TIMEOUT"):
        outcome()
