"""The real OpenClaw over OpenAI's responses, and over Anthropic's messages."""

import json
from pathlib import Path

import pytest

from demo import openclaw
from demo.stack import Stack

pytestmark = [pytest.mark.openclaw, pytest.mark.timeout(240)]


def call(name: str, **arguments: str) -> str:
    return f"!call {name} {json.dumps(arguments)}"


@pytest.mark.parametrize("api", ["openai-responses", "anthropic-messages"])
def test_a_turn_with_parallel_calls_is_one_run(api: str, stack: Stack, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    lines = [
        f"Work over {api}.",
        "!say I will write a file.",
        call("write", path="made.txt", content=f"made over {api}\n"),
        "!then",
        call("exec", command="echo left"),
        call("exec", command="echo right"),
        "!then",
        call("read", path="made.txt"),
    ]
    envelope = openclaw.turn(
        tmp_path / "home",
        workspace,
        stack.bridge_url if api == "anthropic-messages" else stack.base_url,
        stack.client_token,
        "minimal",
        "\n".join(lines),
        api=api,
    )
    assert envelope["ok"], envelope
    assert (workspace / "made.txt").read_text() == f"made over {api}\n"
    assert f"made over {api}" in envelope["final"]
    assert (envelope["toolSummary"]["calls"], envelope["toolSummary"]["failures"]) == (4, 0)
    store = stack.store()
    try:
        runs = [run for run_id in store.run_ids() if (run := store.run(run_id)) and f"Work over {api}." in run.request]
    finally:
        store.close()
    assert [(run.state, run.attempt) for run in runs] == [("finished", 1)]
