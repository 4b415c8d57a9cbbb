"""Chat, agent and text generation apps of before there were chatflows: a prompt, a model and variables in one form.

Differs from Dify: each turn is played as a graph of one LLM node, and an agent calls no tools of Dify's.
Sources: core/app/apps/{chat,agent_chat}/app_runner.py, models/model.py (AppModelConfig.to_dict).
"""

import re
from typing import Any

CHAT = "chat"
AGENT = "agent-chat"
COMPLETION = "completion"
MODES = (CHAT, AGENT, COMPLETION)

_VARIABLE = re.compile(r"\{\{(\w+)\}\}")


def as_chatflow(export: dict[str, Any]) -> dict[str, Any]:
    """The export of a chatflow that does what the app does."""
    config = export["model_config"]
    prompt = _VARIABLE.sub(r"{{#start.\1#}}", str(config.get("pre_prompt") or ""))
    nodes = [
        _node("start", {"type": "start", "title": "Start", "variables": _variables(config)}),
        _node("llm", _generator(config, prompt) if export["app"]["mode"] == COMPLETION else _llm(config, prompt)),
        _node("answer", {"type": "answer", "title": "Answer", "answer": "{{#llm.text#}}", "variables": []}),
    ]
    edges = [_edge("start", "llm", "start", "llm"), _edge("llm", "answer", "llm", "answer")]
    features = {name: config[name] for name in ("file_upload", "opening_statement") if name in config}
    workflow = {"graph": {"nodes": nodes, "edges": edges}, "features": features}
    app = {**export["app"], "mode": "advanced-chat"}
    return {"kind": "app", "version": export.get("version", "0.7.0"), "app": app, "workflow": workflow}


def _variables(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": kind, **each} for entry in config.get("user_input_form") or () for kind, each in entry.items()]


def _llm(config: dict[str, Any], prompt: str) -> dict[str, Any]:
    model = config["model"]
    return {
        "type": "llm",
        "title": "LLM",
        "model": {key: model[key] for key in ("provider", "name", "mode", "completion_params")},
        "prompt_template": [{"id": "system", "role": "system", "text": prompt}] if prompt else [],
        "memory": {"window": {"enabled": False, "size": 50}, "query_prompt_template": "{{#sys.query#}}"},
        "context": {"enabled": False, "variable_selector": []},
        "vision": {"enabled": False},
    }


def _generator(config: dict[str, Any], prompt: str) -> dict[str, Any]:
    """Return the node of a text generation app: its prompt is all that is said, and nothing is remembered."""
    node = _llm(config, "")
    del node["memory"]
    return node | {"prompt_template": [{"id": "user", "role": "user", "text": prompt}]}


def _node(node_id: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": node_id, "type": "custom", "data": data}


def _edge(source: str, target: str, source_type: str, target_type: str) -> dict[str, Any]:
    return {
        "id": f"{source}-{target}",
        "source": source,
        "target": target,
        "sourceHandle": "source",
        "targetHandle": "target",
        "type": "custom",
        "data": {"isInIteration": False, "isInLoop": False, "sourceType": source_type, "targetType": target_type},
    }
