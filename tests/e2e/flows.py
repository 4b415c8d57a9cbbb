"""App exports with several LLM nodes, made from the minimal example."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from demo.stack import ROOT

START, ANSWER = "1770000000001", "1770000000003"


def llm(node_id: str, prompt: str, parameters: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    """Return an LLM node with callbacks whose user message is `prompt`."""
    return _node(
        node_id,
        {
            "type": "llm",
            "title": node_id,
            "context": {"enabled": False, "variable_selector": []},
            "vision": {"enabled": False},
            "structured_output_enabled": False,
            "model": {
                "completion_params": {"external_tool_callback_enabled": True, **(parameters or {})},
                "mode": "chat",
                "name": "main",
                "provider": "clawback/clawback/clawback",
            },
            "prompt_template": [
                {"id": f"system-{node_id}", "role": "system", "text": "You are a node."},
                {"id": f"user-{node_id}", "role": "user", "text": prompt},
            ],
            **data,
        },
    )


def http(node_id: str, url: str) -> dict[str, Any]:
    """Return an HTTP node that posts to `url`."""
    data = {
        "type": "http-request",
        "title": node_id,
        "method": "post",
        "url": url,
        "authorization": {"type": "no-auth", "config": None},
        "headers": "",
        "params": "",
        "body": {"type": "none", "data": []},
        "timeout": {"connect": 10, "read": 60, "write": 10},
        "retry_config": {"retry_enabled": False, "max_retries": 0, "retry_interval": 100},
    }
    return _node(node_id, data)


ACTIONS = {"yes": "Go ahead", "no": "Stop"}
NOTE = {"type": "paragraph", "output_variable_name": "note", "default": {"type": "constant", "value": "no note"}}
SIZE = {
    "type": "select",
    "output_variable_name": "size",
    "option_source": {"type": "constant", "selector": [], "value": ["small", "large"]},
}


def form(
    node_id: str, content: str, *fields: dict[str, Any], hours: float = 1, ways: Sequence[str] = ("webapp",)
) -> Any:
    """Return a Human Input node with two buttons, `yes` and `no`."""
    data = {
        "type": "human-input",
        "title": node_id.capitalize(),
        "form_content": content,
        "inputs": list(fields),
        "user_actions": [{"id": name, "title": title, "button_style": "default"} for name, title in ACTIONS.items()],
        "delivery_methods": [{"id": str(uuid4()), "type": way, "enabled": True, "config": {}} for way in ways],
        "timeout": hours,
        "timeout_unit": "hour",
    }
    return _node(node_id, data)


def say(node_id: str, text: str) -> dict[str, Any]:
    """Return an Answer node."""
    return _node(node_id, {"type": "answer", "title": node_id, "answer": text, "variables": []})


def flow(path: Path, nodes: Sequence[dict[str, Any]], *edges: str) -> Path:
    """Write a chatflow. An edge is `FROM TO`, or `FROM.HANDLE TO`, and `start` is where it begins."""
    export = yaml.safe_load((ROOT / "examples" / "minimal.yml").read_text())
    graph = export["workflow"]["graph"]
    graph["nodes"] = [graph["nodes"][0], *nodes]
    graph["edges"] = []
    for each in edges:
        source, _, target = each.partition(" ")
        name, _, handle = source.partition(".")
        edge = _edge(START if name == "start" else name, target)
        graph["edges"].append({**edge, "id": each, "sourceHandle": handle or "source"})
    path.write_text(yaml.safe_dump(export, allow_unicode=True))
    return path


def parallel(folder: Path, name: str, *nodes: dict[str, Any]) -> Path:
    """Write a chatflow whose nodes run side by side; its answer is their texts, joined by ` + `."""
    ids = [node["id"] for node in nodes]
    return _write(folder / f"{name}.yml", nodes, [(START, each) for each in ids] + [(each, ANSWER) for each in ids])


def in_a_row(folder: Path, name: str, *nodes: dict[str, Any]) -> Path:
    """Write a chatflow whose nodes run one after the other; its answer is their texts, joined by ` + `."""
    ids = [START, *(node["id"] for node in nodes), ANSWER]
    return _write(folder / f"{name}.yml", nodes, pairwise(ids))


def _write(path: Path, nodes: Sequence[dict[str, Any]], edges: Iterable[tuple[str, str]]) -> Path:
    export = yaml.safe_load((ROOT / "examples" / "minimal.yml").read_text())
    graph = export["workflow"]["graph"]
    told = {"llm": "text", "http-request": "body"}
    answer = " + ".join(f"{{{{#{node['id']}.{told[node['data']['type']]}#}}}}" for node in nodes)
    last = _node(ANSWER, {"type": "answer", "title": "Answer", "answer": answer, "variables": []})
    graph["nodes"] = [graph["nodes"][0], *nodes, last]
    graph["edges"] = [_edge(source, target) for source, target in edges]
    path.write_text(yaml.safe_dump(export, allow_unicode=True))
    return path


def _node(node_id: str, data: dict[str, Any]) -> dict[str, Any]:
    place = {"x": 0, "y": 0}
    size = {"width": 242, "height": 88, "sourcePosition": "right", "targetPosition": "left"}
    return {"id": node_id, "type": "custom", "position": place, "positionAbsolute": place, **size, "data": data}


def _edge(source: str, target: str) -> dict[str, Any]:
    return {
        "id": f"{source}-{target}",
        "source": source,
        "sourceHandle": "source",
        "target": target,
        "targetHandle": "target",
        "type": "custom",
        "data": {"isInIteration": False, "isInLoop": False},
    }
