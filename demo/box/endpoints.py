"""The endpoint of a plugin, as Dify shows it to the world: /e/HOOK/PATH.

The request goes to the plugin as it came, its headers too, and nobody is authenticated. A whole body comes back whole;
of a streamed one the end is lost where the plugin ends at once, which real daemons do more often than not.
Sources: the daemon's internal/service/endpoint.go, plugin_daemon/endpoint_service.go; the losses were measured.
"""

import binascii
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from flask import Blueprint, Response, jsonify, request

from demo.box.config import Limits
from demo.box.errors import DaemonError
from demo.box.plugin_process import Packet, PluginProcess
from demo.box.workspace import Workspace

HOOK = "tools"
"""The endpoint's id, which Dify makes up."""

LOST_SECONDS = 0.05
"""A streamed piece is lost where the plugin ends sooner than this after it."""

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


class EndpointPlugin:
    """A plugin with endpoints, in a process of its own, and what it may call."""

    def __init__(self, folder: Path, limits: Limits, workspace: Workspace) -> None:
        self.workspace = workspace
        permission = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))["resource"]["permission"]
        self._may_call_tools = bool((permission.get("tool") or {}).get("enabled"))
        self.process = PluginProcess(folder, limits, self._call_dify)

    def answers(self, raw_request: bytes) -> Iterator[Packet]:
        """Hand a request to the plugin and yield what it answers. Raises DaemonError."""
        data = {"settings": self.workspace.settings, "raw_http_request": binascii.hexlify(raw_request).decode()}
        return self.process.invoke("invoke_endpoint", data, kind="endpoint", endpoint_id=HOOK)

    def _call_dify(self, asked: Packet) -> Iterator[Packet]:
        if asked.get("type") != "tool":
            raise DaemonError(
                "invoke_dify_error", f"permission denied, {asked.get('type')} is not among its permissions"
            )
        return self.workspace.invoke(asked["request"], allowed=self._may_call_tools)


def create_blueprint(plugin: EndpointPlugin | None) -> Blueprint:
    """/e/HOOK/PATH, and GET /box/tools: which tools were called, for tests."""
    blueprint = Blueprint("endpoints", __name__)

    @blueprint.route("/e/<hook>/<path:path>", methods=_METHODS)
    def endpoint(hook: str, path: str) -> Response:
        if plugin is None or hook != HOOK:
            return _not_found(-400, "PluginDaemonBadRequestError")
        if not plugin.workspace.is_enabled:
            return _not_found(-404, "PluginDaemonNotFoundError")
        try:
            return _response(_until_lost(plugin.answers(_raw(path, hook))))
        except DaemonError as error:
            return _json({"code": -500, "message": error.message}, 500)

    @blueprint.get("/box/tools")
    def tools() -> Response:
        return jsonify({"calls": plugin.workspace.calls if plugin else []})

    return blueprint


def _raw(path: str, hook: str) -> bytes:
    query = f"?{request.query_string.decode()}" if request.query_string else ""
    kept = [(name, value) for name, value in request.headers if name.lower() not in {"transfer-encoding"}]
    headers = [*kept, ("Dify-Hook-Id", hook), ("Dify-Hook-Url", f"{request.host_url}e/{hook}/{path}")]
    lines = [f"{request.method} /{path}{query} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + request.get_data()


def _until_lost(packets: Iterator[Packet]) -> Iterator[Packet]:
    """Yield the packets, the last of several only where the plugin lives a little longer than it takes to send it."""
    held: Packet | None = None
    held_at, count = 0.0, 0
    for packet in packets:
        if held is not None:
            yield held
        held, held_at, count = packet, time.monotonic(), count + 1
    if held is not None and (count == 1 or time.monotonic() - held_at >= LOST_SECONDS):
        yield held


def _response(packets: Iterator[Packet]) -> Response:
    head = next(packets, None)
    if head is None:
        return _json({"code": -500, "message": "the plugin answered nothing"}, 500)
    first = binascii.unhexlify(head.get("result") or "")
    rest = (binascii.unhexlify(packet.get("result") or "") for packet in packets)
    headers = {name: value for name, value in head["headers"].items() if name.lower() != "content-length"}
    return Response((piece for piece in (first, *rest) if piece), status=head["status"], headers=headers)


def _not_found(code: int, kind: str) -> Response:
    said = f'{{"message":"endpoint not found","error_type":"{kind}","args":null}}'
    return _json({"code": code, "message": said}, 404)


def _json(body: dict[str, Any], status: int) -> Response:
    response = jsonify(body)
    response.status_code = status
    return response
