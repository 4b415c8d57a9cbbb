"""The real OpenClaw over OpenAI's responses, and over Anthropic's messages."""

import json
from pathlib import Path

import pytest

from demo import openclaw
from demo.stack import Stack
from tests.conftest import Shows
from tests.e2e.conftest import runs_that_hold
from tests.e2e.wire import Cable

pytestmark = [pytest.mark.openclaw, pytest.mark.timeout(240)]


SPOKEN = {
    "openai-completions": ("/v1/chat/completions", "chat completions"),
    "openai-responses": ("/v1/responses", "responses"),
    "anthropic-messages": ("/v1/messages", "messages"),
}


def call(name: str, **arguments: str) -> str:
    return f"!call {name} {json.dumps(arguments)}"


@pytest.mark.parametrize("api", ["openai-completions", "openai-responses", "anthropic-messages"])
def test_a_turn_with_parallel_calls_is_one_run(api: str, stack: Stack, tmp_path: Path, shows: Shows) -> None:
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
    cable = Cable()
    cable.target = int(stack.bridge_url.rpartition(":")[2])
    base_url = f"http://127.0.0.1:{cable.port}"
    envelope = openclaw.turn(
        tmp_path / "home",
        workspace,
        base_url if api == "anthropic-messages" else f"{base_url}/v1",
        stack.client_token,
        "minimal",
        "\n".join(lines),
        api=api,
    )
    assert envelope["ok"], envelope
    assert (workspace / "made.txt").read_text() == f"made over {api}\n"
    assert f"made over {api}" in envelope["final"]
    assert (envelope["toolSummary"]["calls"], envelope["toolSummary"]["failures"]) == (4, 0)
    runs = runs_that_hold(stack, f"Work over {api}.")
    assert [(run.state, run.attempt) for run in runs] == [("finished", 1)]
    cable.close()
    path, protocol = SPOKEN[api]
    assert cable.asked() == ({path}, True)
    shows("OpenClaw", protocol, "one call", "parallel calls", "three rounds", "streamed")
