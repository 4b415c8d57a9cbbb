"""The example apps: what they do, and that Dify can import them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.demo.box.running import EXAMPLES, PROVIDER, ROOT, RunningBox

NAMES = ("minimal", "router", "pipeline")
MODEL_NODES = ("llm", "question-classifier")


@pytest.fixture(params=NAMES)
def path(request: pytest.FixtureRequest) -> Path:
    return EXAMPLES / f"{request.param}.yml"


@pytest.fixture
def export(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def nodes(export: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = export["workflow"]["graph"]["nodes"]
    return found


def test_minimal_answers(box: RunningBox) -> None:
    assert box.chat("hello").answer == "hello"


@pytest.mark.parametrize(
    ("query", "title", "model"), [("Quick answer", "Light model", "light"), ("Real work", "Strong model", "main")]
)
def test_router_chooses_the_model(box: RunningBox, query: str, title: str, model: str) -> None:
    turn = box.chat(f"{query}\n!tell", app="Clawback router")
    assert [event["data"]["title"] for event in turn.of("node_started")][1:3] == ["Which model?", title]
    assert turn.told["model"] == model
    assert turn.one("message_end")["metadata"]["usage"]["total_tokens"] > 0


def test_routers_models_have_settings_of_their_own(box: RunningBox) -> None:
    light = box.chat("Quick answer\n!tell", app="Clawback router").told["parameters"]
    strong = box.chat("Real work\n!tell", app="Clawback router").told["parameters"]
    assert light["external_tool_callback_enabled"] is strong["external_tool_callback_enabled"] is True
    assert light["max_tool_call_rounds"] < strong["max_tool_call_rounds"]


def test_pipelines_worker_gets_the_plan_and_its_text_is_the_answer(box: RunningBox) -> None:
    turn = box.chat("step one\n!tell", app="Clawback pipeline")
    titles = [event["data"]["title"] for event in turn.of("node_finished")]
    assert titles == ["Start", "Planner", "Worker", "Format", "Answer"]
    planner, worker = (event["data"]["outputs"]["text"] for event in turn.of("node_finished")[1:3])
    assert turn.answer == worker.strip()
    told = json.loads(worker[worker.index("{") :])
    assert planner in told["messages"][0][1]
    assert told["parameters"]["external_tool_callback_enabled"] is True
    assert "external_tool_callback_enabled" not in json.loads(planner[planner.index("{") :])["parameters"]


def test_an_example_is_written_as_dify_writes_it(path: Path, export: dict[str, Any]) -> None:
    assert path.read_text() == yaml.dump(export, allow_unicode=True)
    assert (export["version"], export["kind"], export["app"]["mode"]) == ("0.7.0", "app", "advanced-chat")


def test_no_build_of_the_plugin_is_asked_for(export: dict[str, Any]) -> None:
    """Dify compares a dependency with the package's hash, and reports every other build as a missing plugin."""
    assert export["dependencies"] == []


def test_every_model_is_the_plugins(export: dict[str, Any]) -> None:
    models = [node["data"]["model"] for node in nodes(export) if node["data"]["type"] in MODEL_NODES]
    assert models
    assert {(model["provider"], model["mode"]) for model in models} == {(PROVIDER, "chat")}


def test_every_parameter_is_one_that_the_plugin_declares(export: dict[str, Any]) -> None:
    declared = yaml.safe_load((ROOT / "provider/models/llm/main.yaml").read_text())  # light's are the same
    names = {rule["name"] for rule in declared["parameter_rules"]}
    for node in nodes(export):
        if node["data"]["type"] in MODEL_NODES:
            assert node["data"]["model"]["completion_params"].keys() <= names


def test_the_canvas_is_in_order(export: dict[str, Any]) -> None:
    found = {node["id"]: node for node in nodes(export)}
    for edge in export["workflow"]["graph"]["edges"]:
        source, target = found[edge["source"]], found[edge["target"]]
        assert edge["id"] == f"{edge['source']}-{edge['sourceHandle']}-{edge['target']}-target"
        assert (edge["data"]["sourceType"], edge["data"]["targetType"]) == (
            source["data"]["type"],
            target["data"]["type"],
        )
        assert source["position"]["x"] + source["width"] < target["position"]["x"]
    for one in found.values():
        for other in found.values():
            assert one is other or not overlap(one, other)


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two nodes share a place on the canvas."""
    across = abs(one["position"]["x"] - other["position"]["x"]) < max(one["width"], other["width"])
    first, second = sorted((one, other), key=lambda node: node["position"]["y"])
    return across and second["position"]["y"] < first["position"]["y"] + first["height"]
