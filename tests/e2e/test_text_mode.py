"""Models that only write text complete the same task: definitions, calls and results go through the text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import openclaw, task
from demo.scripted.text_formats import FORMATS
from demo.stack import Stack
from tests.e2e.conftest import MakeClient, call, export_with, upstream_log, workflow_runs
from tools.openclaw_text.families import FAMILIES, family_of

# An upstream's model by the prompt family that its name stands for.
MODELS = {
    "hermes": "scripted-text-hermes_json",
    "qwen_coder": "scripted-text-seed_oss",
    "llama": "scripted-text-bare_json:llama3.1",
    "mistral": "scripted-text-mistral",
    "deepseek_v3": "scripted-text-deepseek_v3",
    "deepseek_v31": "scripted-text-deepseek_v31:deepseek-v3.1",
    "deepseek": "scripted-text-deepseek_dsml",
    "glm": "scripted-text-glm_xml",
    "kimi": "scripted-text-kimi_k2",
    "generic": "scripted-text-fenced_json",
}
OTHERS = sorted(set(FORMATS) - {model.partition(":")[0].removeprefix("scripted-text-") for model in MODELS.values()})
WORDS = ("All three points ", "stand in open.md.")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An app for each model; none of these models takes any field about tools."""
    folder = tmp_path_factory.mktemp("text-mode")
    models = MODELS | {name: f"scripted-text-{name}" for name in OTHERS}
    exports = {name: export_of(folder, model, tool_call_mode="openclaw_text") for name, model in models.items()}
    exports["auto"] = export_of(folder, MODELS["generic"])
    exports["promoted"] = export_of(folder, "scripted")
    exports["unpromoted"] = export_of(folder, "scripted", text_call_promotion=False)
    # Without a name of its own, the upstream knows each model by the name that it has in the app.
    with Stack(folder, apps=[], exports=exports, upstream_model="") as running:
        yield running


def export_of(folder: Path, model: str, **parameters: Any) -> Path:
    given = {"external_tool_callback_enabled": True, **parameters}
    node = {"provider": "clawback/clawback/clawback", "name": model, "mode": "chat", "completion_params": given}
    return export_with(folder, "minimal", node={"model": node})


def do_the_task(stack: Stack, app: str, make_client: MakeClient, folder: Path) -> None:
    task.prepare(folder)
    prompt = [
        f"For {app}.",
        "!delta 3",
        "!say Let me look.",
        task.scripted_request(),
        "!then",
        *(f"!say {word}" for word in WORDS),
    ]
    client = make_client(stack, app)
    outcome = client.ask("\n".join(prompt))
    assert client.messages[1]["content"].strip() == "Let me look."
    assert (folder / "open.md").read_text().count("- [ ]") == 3
    assert outcome.reply.text == "\n".join(WORDS)
    requests = [entry["request"] for entry in upstream_log(stack, f"For {app}.")]
    assert not any({"tools", "tool_choice", "parallel_tool_calls"} & request.keys() for request in requests)
    one_by_one = requests[0]["model"].startswith(("scripted-text-react", "scripted-text-bracket_pair"))
    assert outcome.http_requests == (5 if one_by_one else 4)
    (run,) = outcome.runs
    assert [row["status"] for row in workflow_runs(stack, run)] == ["succeeded"]


def test_there_is_a_model_for_each_prompt_family() -> None:
    assert {family: family_of(model).name for family, model in MODELS.items()} == {name: name for name in FAMILIES}


@pytest.mark.parametrize("family", MODELS)
def test_a_model_of_each_prompt_family_completes_the_task(
    family: str, stack: Stack, make_client: MakeClient, tmp_path: Path
) -> None:
    do_the_task(stack, family, make_client, tmp_path)


@pytest.mark.parametrize("format_", OTHERS)
def test_a_model_that_writes_another_format_than_it_was_told_completes_the_task_too(
    format_: str, stack: Stack, make_client: MakeClient, tmp_path: Path
) -> None:
    do_the_task(stack, format_, make_client, tmp_path)


@pytest.mark.parametrize("family", MODELS)
def test_a_broken_call_comes_back_to_the_model_which_mends_it(
    family: str, stack: Stack, make_client: MakeClient, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("alpha")
    name = f"Broken for {family}."
    prompt = [name, '!broken read {"path": "a', "!then", call("read", path="a"), "!then", "!say mended"]
    outcome = make_client(stack, family).ask("\n".join(prompt))
    assert outcome.reply.text == "mended"
    assert outcome.http_requests == 2
    asked = [entry["request"]["messages"] for entry in upstream_log(stack, name)]
    assert len(asked) == 3
    assert "Error: " in asked[1][-1]["content"]
    assert "alpha" in asked[2][-1]["content"]


def test_auto_finds_out_that_an_upstream_takes_no_tools(stack: Stack, make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("alpha")
    for number in (1, 2):
        outcome = make_client(stack, "auto").ask(f"Auto.\n{call('read', path='a')}\n!then\n!say done {number}")
        assert outcome.reply.text == f"done {number}"
    asked = upstream_log(stack, "Auto.")
    assert [entry["status"] for entry in asked[-4:]] == [200] * 4
    assert not any("tools" in entry["request"] for entry in asked[-4:])
    assert len(asked) <= 5, "the refusal was not remembered"


@pytest.mark.parametrize(("app", "runs_it"), [("promoted", True), ("unpromoted", False)])
def test_a_node_takes_an_answer_that_is_a_text_call_for_a_call_or_not(
    app: str, runs_it: bool, stack: Stack, make_client: MakeClient, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("alpha")
    text = json.dumps({"name": "read", "arguments": {"path": "a"}})
    outcome = make_client(stack, app).ask(f"Promote.\n!say {text}\n!then\n!say done")
    assert outcome.http_requests == (2 if runs_it else 1)
    assert outcome.reply.text == ("done" if runs_it else text)


@pytest.mark.openclaw
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("family", "client_mode"), [("hermes", "structured"), ("deepseek", "openclaw_text"), ("mistral", "structured")]
)
def test_openclaw_completes_the_task_with_a_model_that_only_writes_text(
    family: str, client_mode: str, stack: Stack, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    task.prepare(workspace)
    prompt = f"{client_mode} {family}.\n{task.scripted_request()}\n!then\n!say {WORDS[0]}"
    extra = {"tool_call_mode": client_mode}
    envelope = openclaw.turn(tmp_path / "home", workspace, stack.base_url, stack.client_token, family, prompt, extra)
    assert envelope["ok"], envelope
    assert envelope["toolSummary"] == {"calls": 4, "tools": ["read", "exec"], "failures": 0}
    assert (workspace / "open.md").read_text().count("- [ ]") == 3
    assert envelope["final"].strip() == WORDS[0].strip()
