"""The real OpenClaw over each of the endpoint's languages: what it does alike in all of them."""

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo import openclaw
from demo.stack import Stack
from tests.conftest import Shows
from tests.e2e.conftest import call, cut_off, runs_that_hold, upstream_log
from tests.e2e.test_messages import PIXEL
from tests.e2e.wire import Cable

pytestmark = [pytest.mark.openclaw, pytest.mark.timeout(600)]

SPOKEN = {
    "openai-completions": ("/v1/chat/completions", "chat completions"),
    "openai-responses": ("/v1/responses", "responses"),
    "anthropic-messages": ("/v1/messages", "messages"),
}
Turn = Callable[..., dict[str, Any]]


@pytest.fixture(params=SPOKEN)
def api(request: pytest.FixtureRequest) -> str:
    """What its provider entry says."""
    return str(request.param)


@pytest.fixture
def base_url(api: str, cable: Cable) -> str:
    """The base URL that its provider entry has in this language."""
    url = f"http://127.0.0.1:{cable.port}"
    return url if api == "anthropic-messages" else f"{url}/v1"


@pytest.fixture
def turn(api: str, base_url: str, stack: Stack, tmp_path: Path) -> Turn:
    """One turn of a task of its own."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    def turn(*lines: str) -> dict[str, Any]:
        said = "\n".join(lines)
        return openclaw.turn(tmp_path / "home", workspace, base_url, stack.client_token, "minimal", said, api=api)

    return turn


def test_a_turn_with_parallel_calls_is_one_run(
    api: str, turn: Turn, stack: Stack, cable: Cable, tmp_path: Path, shows: Shows
) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "red.png").write_bytes(base64.b64decode(PIXEL))
    envelope = turn(
        f"Work over {api}.",
        "!say I will write a file.",
        call("write", path="made.txt", content=f"made over {api}\n"),
        "!then",
        call("exec", command="echo left"),
        call("exec", command="echo right"),
        "!then",
        call("read", path="red.png"),
        "!then",
        call("read", path="made.txt"),
    )
    assert envelope["ok"], envelope
    assert (workspace / "made.txt").read_text() == f"made over {api}\n"
    assert f"made over {api}" in envelope["final"]
    assert (envelope["toolSummary"]["calls"], envelope["toolSummary"]["failures"]) == (5, 0)
    runs = runs_that_hold(stack, f"Work over {api}.")
    assert [(run.state, run.attempt) for run in runs] == [("finished", 1)]
    sent = upstream_log(stack, f"Work over {api}.")[-1]["request"]["messages"]
    assert "data:image/" in str(sent), "the model saw no picture"
    path, protocol = SPOKEN[api]
    assert cable.asked() == ({path}, True)
    shows("OpenClaw", protocol, "one call", "parallel calls", "three rounds", "streamed", "images")


def test_two_turns_of_a_session_are_one_conversation_and_nothing_is_remembered_twice(
    api: str, base_url: str, stack: Stack, tmp_path: Path, shows: Shows
) -> None:
    config = tmp_path / "openclaw.json"
    openclaw.write_config(config, base_url, stack.client_token, ["minimal"], api=api)
    environ = os.environ | {
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "OPENCLAW_STATE_DIR": str(tmp_path / "state"),
        "OPENCLAW_CONFIG_PATH": str(config),
    }
    for number in ("one", "two"):
        prompt = f"{number} over {api}.\n{call('exec', command=f'echo {number}')}\n!then\n!say done with {number}"
        command = [str(openclaw.find()), "agent", "--local", "--agent", "main", "--json", "-m", prompt]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=200, check=False)
        assert f"done with {number}" in done.stdout, done.stderr
    runs = runs_that_hold(stack, f"one over {api}.")
    assert len(runs) == 2
    assert len({run.conversation_id for run in runs}) == 1
    last = upstream_log(stack, f"two over {api}.")[-1]["request"]["messages"]
    assert str(last).count(f"one over {api}.") == 1
    assert [message["content"] for message in last if message["role"] == "tool"] == ["one", "two"]
    shows("OpenClaw", SPOKEN[api][1], "second turn")


def test_a_cut_stream_is_joined(api: str, turn: Turn, stack: Stack, cable: Cable, shows: Shows) -> None:
    with cut_off(stack, cable, f"Cut over {api}."):
        envelope = turn(f"Cut over {api}.", "!say part", "!sleep 3", "!say whole")
    assert envelope["ok"], envelope
    assert envelope["final"].split() == ["part", "whole"]
    assert len(upstream_log(stack, f"Cut over {api}.")) == 1
    shows("OpenClaw", SPOKEN[api][1], "a cut stream")
