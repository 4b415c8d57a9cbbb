"""Apps as people have them before all is right: exports of the minimal example, each with one thing different."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from demo.stack import ROOT

Node = dict[str, Any]

TOOL = {
    "type": "builtin",
    "provider": "time",
    "tool": "now",
    "messages": [{"type": "text", "message": {"text": "noon"}}],
}
PICKED = {"type": "builtin", "provider_name": "time", "tool_name": "now", "enabled": True}


def _without_callbacks(export: dict[str, Any]) -> None:
    _llm(export)["model"]["completion_params"]["external_tool_callback_enabled"] = False


def _of_another_provider(export: dict[str, Any]) -> None:
    _llm(export)["model"] |= {"provider": "langgenius/openai/openai", "name": "gpt-4o"}


def _without_an_llm_node(export: dict[str, Any]) -> None:
    graph = export["workflow"]["graph"]
    start, answer = (
        next(node for node in graph["nodes"] if node["data"]["type"] == kind) for kind in ("start", "answer")
    )
    graph["nodes"] = [start, answer]
    graph["edges"] = [{**graph["edges"][0], "source": start["id"], "target": answer["id"]}]
    answer["data"]["answer"] = "hello"


def _without_callback_key(export: dict[str, Any]) -> None:
    _llm(export)["model"]["completion_params"].pop("callback_key", None)


def _with_a_required_input(export: dict[str, Any]) -> None:
    variable = {"variable": "city", "label": "City", "type": "text-input", "required": True, "max_length": 48}
    _node(export, "start")["variables"] = [variable | {"options": []}]


def _with_a_code_node(export: dict[str, Any]) -> None:
    """Put a Code node behind Start; nothing serves the box's sandbox."""
    graph = export["workflow"]["graph"]
    code = {
        "type": "code",
        "title": "Code",
        "code": "def main():\n    return {'result': 'x'}",
        "code_language": "python3",
        "variables": [],
        "outputs": {"result": {"type": "string", "children": None}},
    }
    start = next(node for node in graph["nodes"] if node["data"]["type"] == "start")
    graph["nodes"].append({**start, "id": "1770000000009", "data": code})
    for edge in graph["edges"]:
        if edge["source"] == start["id"]:
            edge["source"] = "1770000000009"
    graph["edges"].append({**graph["edges"][0], "id": "to-code", "source": start["id"], "target": "1770000000009"})


def _with_a_broken_template(export: dict[str, Any]) -> None:
    """Put a Template node that fails before the answer."""
    graph = export["workflow"]["graph"]
    template = {"type": "template-transform", "title": "Template", "template": "{{ 1 // 0 }}", "variables": []}
    answer = next(node for node in graph["nodes"] if node["data"]["type"] == "answer")
    graph["nodes"].append({**answer, "id": "template", "data": template})
    for edge in graph["edges"]:
        if edge["target"] == answer["id"]:
            edge["target"] = "template"
    graph["edges"].append({**graph["edges"][0], "id": "told", "source": "template", "target": answer["id"]})


def _with_a_form(export: dict[str, Any]) -> None:
    """Put a Human Input node before the answer."""
    graph = export["workflow"]["graph"]
    form = {
        "type": "human-input",
        "title": "Review",
        "form_content": "Shall it be told?",
        "inputs": [],
        "user_actions": [{"id": "yes", "title": "Yes", "button_style": "primary"}],
        "delivery_methods": [{"id": str(uuid4()), "type": "webapp", "enabled": True, "config": {}}],
        "timeout": 1,
        "timeout_unit": "hour",
    }
    answer = next(node for node in graph["nodes"] if node["data"]["type"] == "answer")
    graph["nodes"].append({**answer, "id": "form", "data": form})
    for edge in graph["edges"]:
        if edge["target"] == answer["id"]:
            edge["target"] = "form"
    way = {"id": "from-form", "source": "form", "sourceHandle": "yes", "target": answer["id"]}
    graph["edges"].append({**graph["edges"][0], **way})


def _with_a_form_by_mail(export: dict[str, Any]) -> None:
    """The same, delivered by mail alone."""
    _with_a_form(export)
    _node(export, "human-input")["delivery_methods"][0]["type"] = "email"


DIFFERENCES: dict[str, Callable[[dict[str, Any]], None]] = {
    "without-callbacks": _without_callbacks,
    "of-another-provider": _of_another_provider,
    "without-an-llm-node": _without_an_llm_node,
    "without-callback-key": _without_callback_key,
    "with-a-code-node": _with_a_code_node,
    "with-a-broken-template": _with_a_broken_template,
    "with-a-form": _with_a_form,
    "with-a-form-by-mail": _with_a_form_by_mail,
    "with-a-required-input": _with_a_required_input,
}


def write(folder: Path) -> dict[str, Path]:
    """Write all of them; return their paths by name."""
    paths = {name: folder / f"{name}.yml" for name in DIFFERENCES}
    for name, change in DIFFERENCES.items():
        paths[name].write_text(_changed(name, change))
    return paths


def spoil(path: Path) -> bool:
    """Write the app with its difference, and say whether it was without."""
    spoilt = _changed(path.stem, DIFFERENCES[path.stem])
    if path.read_text() == spoilt:
        return False
    path.write_text(spoilt)
    return True


def mend(path: Path) -> None:
    """Write the app as it should be, under the name that it has."""
    path.write_text(_changed(path.stem, lambda _: None))


def _changed(name: str, change: Callable[[dict[str, Any]], None]) -> str:
    export = yaml.safe_load((ROOT / "examples" / "minimal.yml").read_text())
    export["app"]["name"] = name
    change(export)
    return yaml.safe_dump(export, allow_unicode=True)


def _llm(export: dict[str, Any]) -> Node:
    return _node(export, "llm")


def _node(export: dict[str, Any], kind: str) -> Node:
    nodes = export["workflow"]["graph"]["nodes"]
    data: Node = next(node["data"] for node in nodes if node["data"]["type"] == kind)
    return data
