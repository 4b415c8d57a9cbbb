"""What only the box has: a look inside for tests, and an owner's switches.

Differs from Dify: there is nothing like it. It asks for no key, since the box serves its own machine alone.
"""

from typing import Any, Literal

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict
from werkzeug.exceptions import NotFound

from demo.box import http_errors
from demo.box.access import Access
from demo.box.forms import Form, Forms
from demo.box.plugin_daemon import PluginDaemon
from demo.box.plugin_process import PluginProcess
from demo.box.runs import Runs
from demo.box.store import Store, WorkflowRun


class Switches(BaseModel):
    """What an app's owner can switch in Dify."""

    model_config = ConfigDict(extra="forbid")

    enable_api: bool | None = None
    published: bool | None = None
    brings: dict[str, list[dict[str, Any]]] | None = None
    """What nodes that the box does not have would bring: files, and retriever_resources."""


def create_blueprint(
    access: Access, store: Store, runs: Runs, process: PluginProcess | PluginDaemon, forms: Forms
) -> Blueprint:
    """GET /box/state, GET /box/plugin/log, POST /box/apps/{name}, POST /box/worker/{kill, end, stop, start}."""
    blueprint = Blueprint("box", __name__, url_prefix="/box")
    http_errors.register(blueprint)

    @blueprint.get("/state")
    def state() -> Response:
        runs = [_run_fields(run) for run in store.runs()]
        plugin = {"pid": process.pid, "starts": process.starts}
        shown = [_form_fields(form) for form in forms.all()]
        return jsonify({"plugin": plugin, "runs": runs, "uploads": store.uploads(), "forms": shown})

    @blueprint.get("/plugin/log")
    def plugin_log() -> Response:
        return jsonify({"lines": list(process.log)})

    @blueprint.post("/worker/kill")
    def kill_worker() -> Response:
        return jsonify({"killed": runs.kill_worker()})

    @blueprint.post("/worker/end")
    def end_worker() -> Response:
        return jsonify({"ended": runs.end_worker()})

    @blueprint.post("/worker/<state>")
    def switch_worker(state: Literal["stop", "start"]) -> Response:
        runs.take_work(state == "start")
        return jsonify({"worker": state})

    @blueprint.post("/apps/<name>")
    def switch(name: str) -> Response:
        app = next((each for each in access.apps if each.name == name), None)
        if app is None:
            raise NotFound(f"No app is named {name}")
        wanted = Switches.model_validate(request.get_json())
        app.enable_api = app.enable_api if wanted.enable_api is None else wanted.enable_api
        app.published = app.published if wanted.published is None else wanted.published
        app.brings = app.brings if wanted.brings is None else wanted.brings
        return jsonify({"enable_api": app.enable_api, "published": app.published})

    return blueprint


def _form_fields(form: Form) -> dict[str, Any]:
    return {
        "form_id": form.id,
        "form_token": form.token,
        "workflow_run_id": form.run_id,
        "node_id": form.node_id,
        "status": form.status,
        "action": form.action,
        "inputs": form.data,
    }


def _run_fields(run: WorkflowRun) -> dict[str, Any]:
    return {
        "workflow_run_id": run.id,
        "task_id": run.task_id,
        "app": run.app_name,
        "user": run.end_user.session_id,
        "end_user_id": run.end_user.id,
        "conversation_id": run.conversation_id,
        "status": run.status,
        "error": run.error,
        "nodes": run.nodes,
    }
