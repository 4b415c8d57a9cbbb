"""What of Dify's console the box plays: a login, and the workspace's tools.

Sources: Dify's controllers/console/auth/login.py and workspace/tool_providers.py. The workspace's file names who may
log in: `"login": {"email": "...", "password": "..."}`.
"""

import base64
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import Unauthorized

from demo.box.workspace import Workspace

_ACCESS, _CSRF = "box-access-token", "box-csrf-token"


def create_blueprint(workspace: Workspace) -> Blueprint:
    """POST login and logout, GET workspaces/current/tools/TYPE."""
    blueprint = Blueprint("console", __name__, url_prefix="/console/api")

    @blueprint.post("/login")
    def login() -> tuple[Response, int]:
        given, known = request.get_json(), workspace.login
        password = base64.b64decode(given["password"]).decode()
        if not known or (given["email"], password) != (known["email"], known["password"]):
            return jsonify({"code": "authentication_failed", "message": "Invalid email or password."}), 401
        response = jsonify({"result": "success"})
        response.set_cookie("access_token", _ACCESS, httponly=True, samesite="Lax")
        response.set_cookie("csrf_token", _CSRF, samesite="Lax")
        return response, 200

    @blueprint.post("/logout")
    def logout() -> Response:
        return jsonify({"result": "success"})

    @blueprint.get("/workspaces/current/tools/<type_>")
    def tools(type_: str) -> Response:
        shown = (request.cookies.get("access_token"), request.headers.get("X-CSRF-Token"))
        if shown != (_ACCESS, _CSRF):
            raise Unauthorized("CSRF token is missing or invalid.")
        return jsonify(_providers(workspace.tools, type_))

    return blueprint


def _providers(tools: list[dict[str, Any]], type_: str) -> list[dict[str, Any]]:
    providers: dict[str, dict[str, Any]] = {}
    for each in tools:
        if each["type"] == type_:
            provider = {"id": each["provider"], "name": each["provider"], "type": type_, "tools": []}
            shown = {
                "name": each["tool"],
                "label": {"en_US": each["tool"]},
                "description": {"en_US": each.get("description", "")},
                "parameters": each.get("parameters", []),
            }
            providers.setdefault(each["provider"], provider)["tools"].append(shown)
    return list(providers.values())
