"""Agents and frameworks as they are: three rounds of tools, two tools at once, and a second turn."""

import base64
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.commands.init import agent_settings
from bridge.config import load
from demo.stack import Stack
from tests.agents.test_claude_code import results_in, workflow_runs_of
from tests.conftest import AGENTS, Shows
from tests.e2e.conftest import call, cut_off, upstream_log
from tests.e2e.test_messages import PIXEL, users
from tests.e2e.wire import Cable

pytestmark = [pytest.mark.agents, pytest.mark.timeout(240)]

TURN_SECONDS = 100
PYTHON = AGENTS / "python/bin"
PATHS = {"chat completions": "/v1/chat/completions", "responses": "/v1/responses"}
Turn = Callable[..., str]
RED = "!say A red one."
ROUNDS = ("one call", "parallel calls", "three rounds")


def run(command: list[str | Path], folder: Path, said: str | None = None, **environment: str) -> str:
    """Let a program do a turn in `folder`, its home as well, and return what it printed."""
    done = subprocess.run(
        list(map(str, command)),
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        cwd=folder,
        input=said or "",
        capture_output=True,
        text=True,
        timeout=TURN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.parametrize("protocol", PATHS)
@pytest.mark.parametrize("name", ["openai-agents", "pydantic-ai", "langgraph", "llm"])
def test_a_framework(name: str, protocol: str, stack: Stack, cable: Cable, tmp_path: Path, shows: Shows) -> None:
    later = "!say Still sunny,\n!sleep 0.5\n!say and warm."
    told = talked(name, protocol, cable, stack, tmp_path, "!say All sunny.", later)
    assert told["pieces"], "the answer came in one piece"
    assert cable.asked() == ({PATHS[protocol]}, True)
    first, second, third = users(stack, f"Weather for {name} in {protocol}.")
    assert first == second == third, "a later turn is of another conversation"
    assert workflow_runs_of(stack, first) == ["succeeded"] * 3
    shows(name, protocol, *ROUNDS, "streamed", "second turn", "images")


def test_smolagents(stack: Stack, cable: Cable, tmp_path: Path, shows: Shows) -> None:
    """It ends a turn with a call that it answers with the next turn's words."""
    ends = [call("final_answer", answer=answer) for answer in ("All sunny.", "Still sunny, and warm.", "A red one.")]
    talked("smolagents", "chat completions", cable, stack, tmp_path, *ends)
    assert cable.asked() == ({"/v1/chat/completions"}, True)
    assert len(set(users(stack, "Weather for smolagents"))) == 1
    shows("smolagents", "chat completions", *ROUNDS, "streamed", "second turn", "images")


def talked(
    name: str, protocol: str, cable: Cable, stack: Stack, folder: Path, first: str, second: str, third: str = RED
) -> dict[str, Any]:
    base_url = f"http://127.0.0.1:{cable.port}/v1"
    kind = "responses" if protocol == "responses" else "chat"
    tools = [call("weather", city=city) for city in ("Oslo", "Rome", "Bern", "Nice")]
    rounds = [tools[0], "!then", *tools[1:3], "!then", tools[3], "!then"]
    model = {"model_id": f"clawback-{kind}", "model_name": "minimal", "api_base": base_url}
    model |= {"supports_tools": True, "vision": True}
    (folder / "extra-openai-models.yaml").write_text(json.dumps([model | {"responses": kind == "responses"}]))
    printed = run(
        [PYTHON / "python", Path(__file__).with_name("frameworks.py"), f"{name}:{kind}"],
        folder,
        CLAWBACK_BASE_URL=base_url,
        CLAWBACK_API_KEY=stack.client_token,
        LLM_USER_PATH=str(folder),
        FIRST="\n".join([f"Weather for {name} in {protocol}.", *rounds, first]),
        SECOND=f"And now?\n{second}",
        THIRD=f"What does {name} show in {protocol}?\n{third}",
        PICTURE=PIXEL,
    )
    told: dict[str, Any] = json.loads(printed[printed.rindex('{"asked"') :])
    assert sorted(told["asked"]) == ["Bern", "Nice", "Oslo", "Rome"]
    answers = ["All sunny.", "Still sunny, and warm.", "A red one."]
    assert [" ".join(answer.split()) for answer in told["answers"]] == answers
    sent = upstream_log(stack, f"What does {name} show in {protocol}?")[-1]["request"]["messages"]
    assert "data:image/png;base64" in json.dumps(sent), "the model saw no picture"
    return told


def test_mini_swe_agent(stack: Stack, cable: Cable, tmp_path: Path, shows: Shows) -> None:
    """It ends with a call that it never answers."""
    task = [
        "The task of mini-swe-agent.",
        call("bash", command="echo made by a chatflow > made.txt"),
        "!then",
        call("bash", command="echo one"),
        call("bash", command="echo two"),
        "!then",
        call("bash", command="cat made.txt"),
        "!then",
        call("bash", command="echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo all done"),
    ]
    options = ["-m", "openai/minimal", "-y", "--exit-immediately", "-o", tmp_path / "trajectory.json"]
    run(
        [PYTHON / "mini", *options, "-t", "\n".join(task)],
        tmp_path,
        MSWEA_CONFIGURED="true",
        MSWEA_COST_TRACKING="ignore_errors",
        OPENAI_API_KEY=stack.client_token,
        OPENAI_API_BASE=f"http://127.0.0.1:{cable.port}/v1",
    )
    trajectory = json.loads((tmp_path / "trajectory.json").read_text())
    assert trajectory["info"]["exit_status"] == "Submitted"
    assert (tmp_path / "made.txt").read_text() == "made by a chatflow\n"
    assert cable.asked() == ({"/v1/chat/completions"}, False)
    assert len(users(stack, "The task of mini-swe-agent.")) == 1
    gone = {
        "streamed": "it asks for whole answers",
        "second_turn": "a task is one turn",
        "images": "its only tool is a shell, whose output is text",
        "a_cut_stream": "it streams nothing",
    }
    shows("mini-swe-agent", "chat completions", *ROUNDS, **gone)


@pytest.fixture
def opencode(stack: Stack, cable: Cable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Turn:
    """An opencode with the settings that `clawback init --apply opencode` writes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    apps = load(stack.folder / "clawback.toml").apps
    access = agent_settings.Access(f"http://127.0.0.1:{cable.port}/v1", stack.client_token, apps)
    written = agent_settings.change(agent_settings.AGENTS["opencode"], access)
    assert written
    written.write()
    assert agent_settings.change(agent_settings.AGENTS["opencode"], access) is None

    def turn(*lines: str, options: tuple[str, ...] = ()) -> str:
        program = next(AGENTS.glob("node_modules/opencode-*-*/bin/opencode"))
        return run([program, "run", *options], tmp_path, "\n".join(lines))

    return turn


def test_opencode(stack: Stack, cable: Cable, tmp_path: Path, opencode: Turn, shows: Shows) -> None:
    (tmp_path / "red.png").write_bytes(base64.b64decode(PIXEL))
    said = opencode(
        "The task of opencode.",
        call("bash", command="echo made by a chatflow > made.txt", description="a"),
        "!then",
        call("bash", command="sleep 0.5; echo slow", description="b"),
        call("bash", command="echo quick; exit 3", description="c"),
        "!then",
        call("read", filePath=str(tmp_path / "made.txt")),
        "!then",
        call("read", filePath=str(tmp_path / "red.png")),
        "!then",
        "!say all done",
    )
    assert "all done" in said
    _, slow, quick, read, _ = results_in(stack, "The task of opencode.")
    assert PIXEL in json.dumps(upstream_log(stack, "The task of opencode.")[-1]["request"]["messages"])
    assert "slow" in slow
    assert "quick" in quick
    assert "made by a chatflow" in read
    assert "two" in opencode("Its second turn.", "!say two", options=("--continue",))
    turns = [user for user in users(stack, "The task of opencode.") if len(workflow_runs_of(stack, user)) > 1]
    assert len(turns) == 2, "the second turn is of another conversation"
    assert len(set(turns)) == 1
    assert workflow_runs_of(stack, turns[0]) == ["succeeded"] * 2
    assert cable.asked() == ({"/v1/chat/completions"}, True)
    shows("opencode", "chat completions", *ROUNDS, "streamed", "second turn", "images")


def test_a_cut_stream_of_opencode_is_joined(stack: Stack, cable: Cable, opencode: Turn, shows: Shows) -> None:
    with cut_off(stack, cable, "Cut opencode off."):
        said = opencode("Cut opencode off.", "!say part", "!sleep 3", "!say whole")
    assert "whole" in said
    asked = [entry for entry in upstream_log(stack, "Cut opencode off.") if entry["request"].get("tools")]
    assert len(asked) == 1
    shows("opencode", "chat completions", "a cut stream")
