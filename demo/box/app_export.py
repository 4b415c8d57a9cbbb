"""An app as Dify exports it: what the box runs, and what it tells about it."""

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml
from graphon.dsl import inspect
from graphon.dsl.entities import LoadStatus

from demo.box import basic_app
from demo.box.inputs import Variable

WORKFLOW = "workflow"
UNLISTED = frozenset({"iteration", "iteration-start", "loop", "loop-start", "loop-end", "human-input"})
"""What graphon's importer refuses, although graphon's engine runs it."""


class AppExportError(ValueError):
    """An app export that the box cannot run, and why."""


@dataclass(slots=True)
class App:
    """One app of the box. `enable_api` and `published` are what an owner can switch in Dify."""

    key: str = field(repr=False)
    name: str
    mode: str
    description: str
    icon: str
    icon_type: str
    icon_background: str
    features: dict[str, Any]
    graph: dict[str, Any]
    root_node_id: str
    variables: tuple[Variable, ...]
    environment: dict[str, Any]
    conversation_defaults: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    workflow_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    tenant_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    enable_api: bool = True
    published: bool = True
    brings: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """What nodes that the box does not have would bring: files, and retriever_resources."""

    @classmethod
    def read(cls, path: Path, key: str) -> Self:
        """Read an export. Raises AppExportError when graphon cannot run it."""
        text = path.read_text(encoding="utf-8")
        export = yaml.safe_load(text)
        mode = str(export["app"]["mode"])
        if mode in basic_app.MODES and "model_config" in export:
            export = basic_app.as_chatflow(export)
        plan = inspect(yaml.safe_dump(_listed(export), allow_unicode=True))
        if plan.load_status is not LoadStatus.LOADABLE:
            raise AppExportError(f"{path}: {plan.load_reason}")
        app, workflow = export["app"], export["workflow"]
        graph = _runnable(workflow["graph"])
        start = _start_node(graph, path)
        return cls(
            key=key,
            name=str(app["name"]),
            mode=mode,
            description=str(app.get("description") or ""),
            icon=str(app.get("icon") or ""),
            icon_type=str(app.get("icon_type") or "emoji"),
            icon_background=str(app.get("icon_background") or "#FFFFFF"),
            features=dict(workflow.get("features") or {}),
            graph=graph,
            root_node_id=str(start["id"]),
            variables=tuple(Variable.model_validate(each) for each in start["data"].get("variables") or ()),
            environment=_values(workflow.get("environment_variables")),
            conversation_defaults=_values(workflow.get("conversation_variables")),
        )

    @property
    def is_chat(self) -> bool:
        """Whether it takes queries and has conversations; else it is a workflow."""
        return self.mode != WORKFLOW

    @property
    def is_completion(self) -> bool:
        """Whether it generates text from its variables alone."""
        return self.mode == basic_app.COMPLETION

    @property
    def is_basic(self) -> bool:
        """Whether it is an app without a workflow of its own, whose stream tells of none."""
        return self.mode in basic_app.MODES


def _listed(export: dict[str, Any]) -> dict[str, Any]:
    """Return the export as graphon's importer takes it."""
    workflow = export.get("workflow")
    if not isinstance(workflow, dict):
        return export
    kept = [node for node in workflow["graph"]["nodes"] if node["data"].get("type") not in UNLISTED]
    names = {node["id"] for node in kept}
    edges = [each for each in workflow["graph"].get("edges") or () if {each["source"], each["target"]} <= names]
    return {**export, "workflow": {**workflow, "graph": {"nodes": kept, "edges": edges}}}


def _runnable(graph: dict[str, Any]) -> dict[str, Any]:
    nodes = [node for node in graph["nodes"] if node.get("type") != "custom-note"]
    return {"nodes": nodes, "edges": list(graph.get("edges") or ())}


def _start_node(graph: dict[str, Any], path: Path) -> dict[str, Any]:
    found = [node for node in graph["nodes"] if node["data"].get("type") == "start"]
    if len(found) != 1:
        raise AppExportError(f"{path} must have exactly one start node, it has {len(found)}")
    return dict(found[0])


def _values(variables: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {str(each["name"]): each.get("value") for each in variables or ()}
