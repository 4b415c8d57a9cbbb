"""The real Codex behind the bridge: its own tools, threads, repeats and limits."""

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.commands.init.agent_settings import AGENTS, Access, change
from bridge.config import load
from demo.stack import EXAMPLES, Stack
from tests.agents.codex import Codex
from tests.conftest import Shows
from tests.e2e.conftest import MakeStack, call, cut_off, make_stack, upstream_log
from tests.e2e.test_messages import PIXEL, users
from tests.e2e.wire import Cable

__all__ = ["make_stack"]

pytestmark = [pytest.mark.agents, pytest.mark.timeout(240)]


@pytest.fixture
def codex(stack: Stack, tmp_path: Path) -> Codex:
    """A Codex that has done nothing yet."""
    return Codex(tmp_path, stack.base_url, stack.client_token)


def results_in(stack: Stack, text: str) -> list[str]:
    """Return the results that the model saw last in the conversation that holds this text."""
    seen = [entry["request"] for entry in upstream_log(stack, text)][-1]["messages"]
    return [str(message["content"]) for message in seen if message["role"] == "tool"]


def runs_of(stack: Stack, user: str) -> list[str]:
    rows: list[dict[str, Any]] = httpx.get(f"{stack.box_url}/box/state").json()["runs"]
    return [row["status"] for row in rows if row["user"] == user]


@pytest.mark.parametrize("app", EXAMPLES)
def test_a_task_of_three_rounds_is_one_workflow_run(app: str, stack: Stack, tmp_path: Path, shows: Shows) -> None:
    codex = Codex(tmp_path, stack.base_url, stack.client_token, app)
    done = codex.turn(
        f"Codex works through {app}.",
        call("exec_command", cmd="echo made by a chatflow > made.txt"),
        "!then",
        call("exec_command", cmd="sleep 0.5; echo slow"),
        call("exec_command", cmd="echo quick; exit 3"),
        "!then",
        call("exec_command", cmd="cat made.txt"),
        "!then",
        "!say all done",
    )
    assert (done.returncode, done.stdout.strip()) == (0, "all done"), done.stderr
    assert (codex.work / "made.txt").read_text() == "made by a chatflow\n"
    _, slow, quick, read = results_in(stack, f"Codex works through {app}.")
    assert "slow" in slow
    assert "exited with code 3" in quick
    assert "made by a chatflow" in read
    (user,) = users(stack, f"Codex works through {app}.")
    assert runs_of(stack, user) == ["succeeded"]
    shows("Codex CLI", "responses", "one call", "parallel calls", "three rounds")


def test_what_the_upstream_wants_back_with_its_calls_comes_back_sealed(
    make_stack: MakeStack, tmp_path: Path, cable: Cable
) -> None:
    """The upstream refuses a call without the details of its thought, and Codex keeps these for it, unread."""
    stack = make_stack(upstream_model="scripted-like-openrouter")
    cable.target = int(stack.bridge_url.rpartition(":")[2])
    codex = Codex(tmp_path, f"http://127.0.0.1:{cable.port}/v1", stack.client_token)
    rounds = [call("exec_command", cmd="echo 1"), "!then", call("exec_command", cmd="echo 2"), "!then"]
    done = codex.turn("Codex keeps thoughts.", *rounds, "!say all done")
    assert (done.returncode, done.stdout.strip()) == (0, "all done"), done.stderr
    kept = re.findall(rb'"encrypted_content":\s*"([^"\\]|\\.)+"', bytes(cable.heard))
    assert len(kept) == 1 + 2, "the second request brings the first round's, the third that of both"


def test_a_resumed_thread_goes_on_with_its_conversation(stack: Stack, codex: Codex, shows: Shows) -> None:
    first = codex.turn("Codex one.", call("exec_command", cmd="echo 1"), "!then", "!say one")
    second = codex.turn("Codex two.", "!say two", again=True)
    assert [done.stdout.strip() for done in (first, second)] == ["one", "two"], second.stderr
    one, two = users(stack, "Codex one.")[0], users(stack, "Codex two.")[0]
    assert one == two
    shows("Codex CLI", "responses", "second turn")


def test_a_child_is_spawned_by_the_tool_of_a_namespace(stack: Stack, codex: Codex) -> None:
    spawn = call("multi_agent_v1__spawn_agent", message="The child of Codex.\n!say child is done")
    done = codex.turn("The main of Codex.", spawn, "!then", call("exec_command", cmd="sleep 3"), "!then", "!say both")
    assert done.returncode == 0, done.stderr
    assert "agent_id" in results_in(stack, "The main of Codex.")[0]
    main = users(stack, "The main of Codex.")[0]
    children = set(users(stack, "The child of Codex.")) - {main}
    assert len(children) == 1


def test_the_model_sees_a_picture_that_it_looks_at(stack: Stack, codex: Codex, shows: Shows) -> None:
    (codex.work / "red.png").write_bytes(base64.b64decode(PIXEL))
    done = codex.turn("Codex and a picture.", call("view_image", path=str(codex.work / "red.png")), "!then", "!say red")
    assert (done.returncode, done.stdout.strip()) == (0, "red"), done.stderr
    assert "image_url" in json.dumps(upstream_log(stack, "Codex and a picture.")[-1]["request"]["messages"])
    shows("Codex CLI", "responses", "images")


def test_the_settings_that_init_writes_are_enough(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codex = Codex(tmp_path)
    monkeypatch.setenv("CODEX_HOME", str(codex.settings.parent))
    access = Access(stack.base_url, stack.client_token, load(stack.folder / "clawback.toml").apps)
    written = change(AGENTS["codex"], access)
    assert written
    written.write()
    done = codex.turn("By its settings.", "!say here")
    assert (done.returncode, done.stdout.strip()) == (0, "here"), done.stderr


def test_a_cut_stream_is_joined(stack: Stack, cable: Cable, tmp_path: Path, shows: Shows) -> None:
    codex = Codex(tmp_path, f"http://127.0.0.1:{cable.port}/v1", stack.client_token)

    with cut_off(stack, cable, "Cut Codex off."):
        done = codex.turn("Cut Codex off.", "!say part", "!sleep 3", "!say whole")
    assert (done.returncode, done.stdout.split()) == (0, ["part", "whole"]), done.stderr
    assert len(upstream_log(stack, "Cut Codex off.")) == 1
    assert cable.asked() == ({"/v1/responses"}, True)
    shows("Codex CLI", "responses", "streamed", "a cut stream")


def test_an_app_that_fails_for_good_ends_the_turn_at_once(stack: Stack, codex: Codex) -> None:
    began = time.monotonic()
    done = codex.turn("Codex is refused.", "!error 400 times 9")
    assert done.returncode != 0
    assert time.monotonic() - began < 30
    assert len(users(stack, "Codex is refused.")) == 1


def test_a_history_is_summed_up_without_touching_the_conversation(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(upstream_model="scripted")
    codex = Codex(tmp_path, stack.base_url, stack.client_token)
    small = ("-c", "model_auto_compact_token_limit=3000")
    codex.turn("Before it. " + "word " * 3000, "!say one", options=small)
    done = codex.turn("After it.", "!say two", again=True, options=small)
    assert (done.returncode, done.stdout.strip()) == (0, "two"), done.stderr
    asked = [entry["request"] for entry in upstream_log(stack, "Before it.")]
    assert any(not request.get("tools") for request in asked)


def test_a_model_that_codex_sends_its_tools_to_as_an_item_can_call_them(make_stack: MakeStack, tmp_path: Path) -> None:
    """Codex does so for names of models that it knows, which an alias may be."""
    stack = make_stack(app_settings={"aliases": ["gpt-*"]})
    codex = Codex(tmp_path, stack.base_url, stack.client_token, "gpt-5.6-sol")
    script = 'text(await tools.exec_command({cmd: "echo made > made.txt"}))'
    done = codex.turn("Codex brings its tools.", call("functions__exec", input=script), "!then", "!say all done")
    assert (done.returncode, done.stdout.strip()) == (0, "all done"), done.stderr
    assert (codex.work / "made.txt").read_text() == "made\n"
