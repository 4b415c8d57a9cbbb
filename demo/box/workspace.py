"""The workspace's tools, and plugins that call them: what Dify's inner API does for a plugin that asks it for a tool.

    {"settings": {"token": "...", "tools": [...]}, "enabled": true,
     "tools": [{"type": "builtin", "provider": "time", "tool": "current_time",
                "parameters": [{"name": "zone", "type": "string", "required": false, "form": "llm"}],
                "messages": [{"type": "text", "message": {"text": "noon in {zone}"}}],
                "seconds": 0, "error": ""}]}

`settings` are those of the endpoint, as Dify's page saves them; `enabled` is its switch there. The file is read anew
for each call. `{zone}` in a message stands for the parameter. `error` is what the tool fails with, `seconds` how long
it is silent before that.
Sources: Dify's core/plugin/backwards_invocation/tool.py, the daemon's internal/core/dify_invocation.
Differs from Dify: tools are played, and run in no process of their own.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

type Message = dict[str, Any]

_REFUSED = "invoke tool failed: request failed with status code: {status} and respond with: {body}"
_FAILED = "read tool response failed: request failed: {text}"
_NO_PERMISSION = "permission denied, you need to enable tool access in plugin manifest"


class ToolError(Exception):
    """A call that failed, in the words in which a plugin hears of it."""


class Workspace:
    """The tools by type, provider and name, and the calls that were made of them."""

    def __init__(self, path: Path | None, silence_seconds: float) -> None:
        self._path = path
        self._silence_seconds = silence_seconds
        self._lock = threading.Lock()
        self.calls: list[dict[str, Any]] = []

    @property
    def settings(self) -> dict[str, Any]:
        """The endpoint's settings, exactly as they were saved."""
        return dict(self._read().get("settings") or {})

    @property
    def is_enabled(self) -> bool:
        """Whether the endpoint is switched on."""
        return bool(self._read().get("enabled", True))

    @property
    def login(self) -> dict[str, str]:
        """Who may log in to the console; empty for nobody."""
        return dict(self._read().get("login") or {})

    @property
    def tools(self) -> list[dict[str, Any]]:
        """All tools, as the file has them."""
        return list(self._read().get("tools") or [])

    def invoke(self, request: Mapping[str, Any], *, allowed: bool) -> Iterator[Message]:
        """Run a tool and yield its messages. Raises ToolError."""
        if not allowed:
            raise ToolError(_NO_PERMISSION)
        tool = self._find(str(request["tool_type"]), str(request["provider"]), str(request["tool"]))
        parameters = dict(request.get("tool_parameters") or {})
        with self._lock:
            called = {name: tool.get(name) for name in ("type", "provider", "tool")}
            self.calls.append(called | {"given": parameters, "at": time.time()})
        for each in tool.get("parameters") or []:
            if each.get("required") and parameters.get(each["name"]) is None:
                raise ToolError(_FAILED.format(text=f"Missing required parameter {each['name']}"))
        silence = float(tool.get("seconds") or 0)
        time.sleep(min(silence, self._silence_seconds))
        if silence > self._silence_seconds:
            raise ToolError(_FAILED.format(text="killed by timeout"))
        if tool.get("error"):
            raise ToolError(_FAILED.format(text=tool["error"]))
        yield from (_filled(message, parameters) for message in tool.get("messages") or [])

    def _find(self, type_: str, provider: str, name: str) -> dict[str, Any]:
        """Find a tool as Dify does, which tells what is missing in three ways."""
        known = [each for each in self.tools if each["type"] == type_ and each["provider"] == provider]
        if not known and type_ in {"builtin", "api"}:
            raise ToolError(_refused(500, "internal_server_error", "Internal Server Error"))
        # The name of a workflow tool is not looked at.
        found = known if type_ == "workflow" else [each for each in known if each["tool"] == name]
        if not found:
            raise ToolError(_refused(400, "invalid_param", f"{type_} tool {name} not found"))
        return found[0]

    def _read(self) -> dict[str, Any]:
        return dict(json.loads(self._path.read_text(encoding="utf-8"))) if self._path else {}


def _refused(status: int, code: str, message: str) -> str:
    body = json.dumps({"code": code, "message": message, "status": status}, separators=(",", ":"))
    return _REFUSED.format(status=status, body=body)


def _filled(value: Any, parameters: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        for name, given in parameters.items():
            value = value.replace(f"{{{name}}}", str(given))
        return value
    if isinstance(value, dict):
        return {name: _filled(each, parameters) for name, each in value.items()}
    return [_filled(each, parameters) for each in value] if isinstance(value, list) else value
