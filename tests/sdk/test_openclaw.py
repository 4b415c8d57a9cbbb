"""The real OpenClaw over OpenAI's responses."""

import json
from pathlib import Path

import pytest

from demo import openclaw
from demo.stack import Stack

pytestmark = [pytest.mark.openclaw, pytest.mark.timeout(240)]


def call(name: str, **arguments: str) -> str:
    return f"!call {name} {json.dumps(arguments)}"


def test_a_turn_with_parallel_calls_over_responses_is_one_run(stack: Stack, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    lines = [
        "Work over responses.",
        "!say I will write a file.",
        call("write", path="made.txt", content="made over responses\n"),
        "!then",
        call("exec", command="echo left"),
        call("exec", command="echo right"),
        "!then",
        call("read", path="made.txt"),
    ]
    envelope = openclaw.turn(
        tmp_path / "home",
        workspace,
        stack.base_url,
        stack.client_token,
        "minimal",
        "\n".join(lines),
        api="openai-responses",
    )
    assert envelope["ok"], envelope
    assert (workspace / "made.txt").read_text() == "made over responses\n"
    assert "made over responses" in envelope["final"]
    assert (envelope["toolSummary"]["calls"], envelope["toolSummary"]["failures"]) == (4, 0)
    store = stack.store()
    try:
        runs = [
            run for run_id in store.run_ids() if (run := store.run(run_id)) and "Work over responses" in run.request
        ]
    finally:
        store.close()
    assert [(run.state, run.attempt) for run in runs] == [("finished", 1)]
