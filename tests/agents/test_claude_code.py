"""The real Claude Code behind the bridge: its own tools, sub-agents, repeats and compactions."""

import base64
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.commands.init.agent_settings import AGENTS, Access, change
from bridge.config import load
from demo.stack import EXAMPLES, Stack
from tests.agents.claude_code import ClaudeCode
from tests.conftest import Shows
from tests.e2e.conftest import MakeStack, call, cut_off, make_stack, upstream_log
from tests.e2e.test_messages import PIXEL, users
from tests.e2e.wire import Cable

__all__ = ["make_stack"]

pytestmark = [pytest.mark.agents, pytest.mark.timeout(240)]


def results_in(stack: Stack, text: str) -> list[str]:
    """Return the results that the model saw last in the conversation that holds this text."""
    seen = [entry["request"] for entry in upstream_log(stack, text) if entry["request"].get("tools")][-1]["messages"]
    return [str(message["content"]) for message in seen if message["role"] == "tool"]


def workflow_runs_of(stack: Stack, user: str) -> list[str]:
    rows: list[dict[str, Any]] = httpx.get(f"{stack.box_url}/box/state").json()["runs"]
    return [row["status"] for row in rows if row["user"] == user]


@pytest.mark.parametrize("app", EXAMPLES)
def test_a_task_of_three_rounds_is_one_workflow_run(app: str, stack: Stack, claude: ClaudeCode, shows: Shows) -> None:
    done = claude.turn(
        f"Work through {app}.",
        call("Write", file_path=str(claude.work / "made.txt"), content="made by a chatflow\n"),
        "!then",
        call("Bash", command="sleep 0.5; echo slow", description="a"),
        call("Bash", command="echo quick; exit 3", description="b"),
        "!then",
        call("Read", file_path=str(claude.work / "made.txt")),
        "!then",
        "!say all done",
        ANTHROPIC_MODEL=app,
    )
    assert (done.code, done.said) == (0, "all done"), done.errors
    assert (claude.work / "made.txt").read_text() == "made by a chatflow\n"
    made, slow, quick, read = results_in(stack, f"Work through {app}.")
    assert "made.txt" in made
    assert (slow, "quick" in quick) == ("slow", True)
    assert "made by a chatflow" in read
    (user,) = users(stack, f"Work through {app}.")
    assert workflow_runs_of(stack, user) == ["succeeded"]
    shows("Claude Code", "messages", "one call", "parallel calls", "three rounds")


def test_the_next_turn_goes_on_with_the_conversation_and_a_fork_does_not(
    stack: Stack, claude: ClaudeCode, shows: Shows
) -> None:
    first = claude.turn("Turn one.", call("Bash", command="echo 1", description="a"), "!then", "!say one")
    second = claude.turn("Turn two.", "!say two", options=("--continue",))
    third = claude.turn("Turn three.", "!say three", options=("--continue", "--fork-session"))
    assert [done.said for done in (first, second, third)] == ["one", "two", "three"]
    one, two, three = users(stack, "Turn one.")
    assert one == two != three
    shows("Claude Code", "messages", "second turn")


def test_sub_agents_have_conversations_of_their_own(stack: Stack, claude: ClaudeCode) -> None:
    def agent(kind: str, word: str) -> str:
        prompt = f"Agent {word}.\n{call('Bash', command=f'echo {word}', description='x')}\n!then\n!say {word} is done"
        return call("Agent", description=word, prompt=prompt, subagent_type=kind)

    done = claude.turn(
        "Main of agents.", agent("general-purpose", "one"), agent("Explore", "two"), "!then", "!say both"
    )
    assert (done.code, done.said) == (0, "both"), done.errors
    one, two = results_in(stack, "Main of agents.")[-2:]
    assert "one is done" in one
    assert "two is done" in two
    main = users(stack, "Main of agents.")[0]
    others = {user for word in ("one", "two") for user in users(stack, f"Agent {word}.")} - {main}
    assert len(others) == 2


def test_the_model_sees_a_picture_that_it_reads(stack: Stack, claude: ClaudeCode, shows: Shows) -> None:
    (claude.work / "red.png").write_bytes(base64.b64decode(PIXEL))
    done = claude.turn("A picture.", call("Read", file_path=str(claude.work / "red.png")), "!then", "!say red")
    assert (done.code, done.said) == (0, "red"), done.errors
    parts = [
        part
        for message in upstream_log(stack, "A picture.")[-1]["request"]["messages"]
        for part in (message["content"] if isinstance(message["content"], list) else [])
    ]
    assert any(part["type"] == "image_url" for part in parts)
    shows("Claude Code", "messages", "images")


def test_the_settings_that_init_writes_are_enough(stack: Stack, apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claude = ClaudeCode(apart)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(claude.home / ".claude"))
    access = Access(stack.base_url, stack.client_token, load(stack.folder / "clawback.toml").apps)
    written = change(AGENTS["claude-code"], access)
    assert written
    written.write()
    done = claude.turn("By its settings.", "!say here")
    assert (done.code, done.said) == (0, "here"), done.errors


def test_a_cut_stream_is_joined_and_nothing_runs_twice(
    stack: Stack, claude: ClaudeCode, cable: Cable, shows: Shows
) -> None:
    with cut_off(stack, cable, "Cut the cable."):
        done = claude.turn(
            "Cut the cable.", "!say part", "!sleep 3", "!say whole", ANTHROPIC_BASE_URL=f"http://127.0.0.1:{cable.port}"
        )
    assert (done.code, done.said.split()) == (0, ["part", "whole"]), done.errors
    assert len(upstream_log(stack, "Cut the cable.")) == 1
    assert cable.asked() == ({"/v1/messages"}, True)
    shows("Claude Code", "messages", "streamed", "a cut stream")


def test_a_key_instead_of_a_token_will_do(stack: Stack, claude: ClaudeCode) -> None:
    done = claude.turn("With a key.", "!say here", ANTHROPIC_AUTH_TOKEN="", ANTHROPIC_API_KEY=stack.client_token)
    assert (done.code, done.said) == (0, "here"), done.errors


def test_a_wrong_token_ends_at_once(claude: ClaudeCode) -> None:
    began = time.monotonic()
    done = claude.turn("Wrong.", ANTHROPIC_AUTH_TOKEN="wrong")
    assert done.code != 0
    assert time.monotonic() - began < 20


def test_a_busy_upstream_is_waited_for_and_no_tool_runs_twice(stack: Stack, claude: ClaudeCode) -> None:
    done = claude.turn(
        "Busy.",
        call("Bash", command="echo ran >> ran.txt; echo once", description="a"),
        "!then",
        "!error 503 times 6",
        "!say done",
    )
    assert (done.code, done.said) == (0, "done"), done.errors
    assert (claude.work / "ran.txt").read_text() == "ran\n"


def test_an_app_that_fails_for_good_ends_the_turn_at_once(stack: Stack, claude: ClaudeCode) -> None:
    began = time.monotonic()
    done = claude.turn("Refused.", "!error 400 times 9")
    assert done.code != 0
    assert time.monotonic() - began < 20
    assert len(users(stack, "Refused.")) == 1


def test_a_full_context_is_compacted_and_the_turn_done(make_stack: MakeStack, apart: Path) -> None:
    stack = make_stack(upstream_model="scripted-small-context")
    claude = ClaudeCode(apart, stack.bridge_url, stack.client_token)
    for number, words in enumerate((10, 2700, 2700)):
        options = ("--continue",) if number else ()
        done = claude.turn(f"Turn {number}.", "word " * words, f"!say answer {number}", options=options)
        assert (done.code, done.said) == (0, f"answer {number}"), done.errors
    asked = [entry for entry in httpx.get(stack.log_url).json() if "Turn " in str(entry["request"]["messages"])]
    # The third turn is too long, its history is summed up, and then it is done.
    assert [entry["status"] for entry in asked] == [200, 200, 400, 200, 200]
    assert "<summary>" in str(asked[3]["request"]["messages"][-1]["content"])
