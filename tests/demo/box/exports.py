"""App exports for tests: the minimal example with something changed."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from tests.demo.box.running import EXAMPLES

LLM = "1770000000002"


def write(path: Path, change: Callable[[dict[str, Any]], None], example: str = "minimal") -> Path:
    """Write an example with changes."""
    export = deepcopy(yaml.safe_load((EXAMPLES / f"{example}.yml").read_text()))
    change(export)
    path.write_text(yaml.dump(export, allow_unicode=True))
    return path


def data(export: dict[str, Any], node_id: str) -> dict[str, Any]:
    """A node's data."""
    return next(node["data"] for node in export["workflow"]["graph"]["nodes"] if node["id"] == node_id)


def with_inputs(export: dict[str, Any]) -> None:
    """A start node with two inputs, which the prompt shows."""
    export["app"]["name"] = "inputs"
    data(export, "1770000000001")["variables"] = [
        {"variable": "city", "label": "City", "type": "text-input", "required": True, "max_length": 10, "options": []},
        {"variable": "size", "label": "Size", "type": "select", "required": False, "options": ["s", "l"]},
    ]
    data(export, LLM)["prompt_template"][0]["text"] = "In {{#1770000000001.city#}}."


def with_retries(export: dict[str, Any]) -> None:
    """An LLM node that tries again twice."""
    export["app"]["name"] = "retries"
    data(export, LLM)["retry_config"] = {"max_retries": 2, "retry_interval": 10, "retry_enabled": True}


def with_default_value(export: dict[str, Any]) -> None:
    """An LLM node whose failure is an answer."""
    export["app"]["name"] = "defaults"
    data(export, LLM)["error_strategy"] = "default-value"
    data(export, LLM)["default_value"] = [{"key": "text", "type": "string", "value": "sorry"}]


ACTIONS = [
    {"id": "yes", "title": "Go ahead", "button_style": "primary"},
    {"id": "no", "title": "Stop", "button_style": "default"},
]


def with_form(export: dict[str, Any]) -> None:
    """A form behind the LLM node, with a text and a choice; each way on has its answer."""
    export["app"]["name"] = "form"
    fields = [
        {"type": "paragraph", "output_variable_name": "note", "default": {"type": "constant", "value": "none"}},
        {
            "type": "select",
            "output_variable_name": "size",
            "option_source": {"type": "constant", "value": ["small", "large"]},
        },
    ]
    form = {
        "type": "human-input",
        "title": "Review",
        "form_content": "Shall it say {{#1770000000002.text#}}? {{#$output.note#}}",
        "inputs": fields,
        "user_actions": ACTIONS,
        "delivery_methods": [{"id": str(uuid4()), "type": "webapp", "enabled": True, "config": {}}],
        "timeout": 1,
        "timeout_unit": "hour",
    }
    told = {"yes": "{{#1770000000002.text#}} ({{#form.note#}}, {{#form.size#}})", "no": "stopped", "__timeout": "late"}
    graph = export["workflow"]["graph"]
    template = graph["nodes"][2]
    graph["nodes"] = [*graph["nodes"][:2], {**template, "id": "form", "data": form}]
    graph["edges"] = [graph["edges"][0], {**graph["edges"][1], "id": "to-form", "target": "form"}]
    for handle, text in told.items():
        graph["nodes"].append({**template, "id": f"say-{handle}", "data": {**template["data"], "answer": text}})
        edge = {"id": f"form-{handle}", "source": "form", "sourceHandle": handle, "target": f"say-{handle}"}
        graph["edges"].append({**graph["edges"][1], **edge})


def without_credentials(export: dict[str, Any]) -> None:
    """A model of a provider that nobody set up."""
    export["app"]["name"] = "unknown provider"
    data(export, LLM)["model"]["provider"] = "someone/else/model"


def as_workflow(export: dict[str, Any]) -> None:
    """A workflow app: what it is told comes as an input, what it says goes out as an output."""
    export["app"] |= {"name": "workflow", "mode": "workflow"}
    data(export, "1770000000001")["variables"] = [
        {"variable": "text", "label": "Text", "type": "paragraph", "required": True, "options": []}
    ]
    llm = data(export, LLM)
    del llm["memory"]
    llm["prompt_template"].append({"id": "u", "role": "user", "text": "{{#1770000000001.text#}}"})
    answer = data(export, "1770000000003")
    answer.clear()
    outputs = [{"variable": "text", "value_selector": [LLM, "text"], "value_type": "string"}]
    answer |= {"type": "end", "title": "End", "desc": "", "outputs": outputs}
