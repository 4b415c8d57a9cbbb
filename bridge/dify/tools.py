"""The tools of a Dify workspace, called through the endpoint of Clawback Tools.

Whether a call ran is the one thing that must not be guessed: an answer says so, or that nothing was run; where there is
none, `Unanswered` is raised.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from bridge.config import DifyTools
from tools.definitions import Function, ToolDefinition
from tools.surrogates import whole

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 620.0
"""Longer than Dify lets an endpoint take in all (PLUGIN_MAX_EXECUTION_TIMEOUT, 600 s)."""

MOST_BYTES = 32 * 1024 * 1024

_LIST_SECONDS = 10.0
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")
_IMAGE = re.compile(r"^(data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+|https?://\S+)$")
_REFUSALS = {"invalid_request", "unauthorized", "not_picked", "key_reused"}


Key = tuple[str, str, str]
"""A tool's type, its provider's id, and its name."""


class ToolsProblem(Exception):
    """The endpoint cannot be used, and nothing was run. `advice` says what to change."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(f"{problem}: {advice[0].lower()}{advice[1:]}")
        self.problem = problem
        self.advice = advice


class Unanswered(Exception):
    """A call was sent, and it is unknown whether it ran. The text says what is known of it."""


class TookTooLong(Unanswered):
    """Dify ended the call at its limit: to make it again would take as long."""


@dataclass(frozen=True, slots=True)
class PickedTool:
    """A tool that may be called, and what a model is told of it."""

    type: str
    provider: str
    tool: str
    definition: ToolDefinition

    @property
    def key(self) -> Key:
        """What it is called in Dify."""
        return self.type, self.provider, self.tool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call."""

    output: str
    is_error: bool = False
    images: list[str] = field(default_factory=list)


class ToolsEndpoint:
    """The endpoint that a `[[dify_tools]]` of the configuration names."""

    def __init__(self, settings: DifyTools) -> None:
        self._url = settings.url.rstrip("/")
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
        # Each connection holds one of Dify's few places, so none is kept.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(headers=headers, timeout=timeout, limits=limits, follow_redirects=False)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def tools(self, schemas: Mapping[Key, Function] | None = None) -> list[PickedTool]:
        """List what is picked, with the `schemas` that are known. Raises ToolsProblem."""
        try:
            status, body = self._ask("GET", "/tools", _LIST_SECONDS)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if status != 200 or not isinstance(body.get("tools"), list):
            raise self._refused(status, body)
        return picked((entry for entry in body["tools"] if isinstance(entry, dict)), schemas or {})

    def call(self, tool: PickedTool, arguments: str, key: str) -> Outcome:
        """Run a tool. The same `key` again runs nothing while the plugin remembers it. Raises Unanswered."""
        asked = {"type": tool.type, "provider": tool.provider, "tool": tool.tool, "key": key}
        try:
            content = json.dumps(asked | {"parameters": whole(json.loads(arguments))}, allow_nan=False)
        except ValueError:
            return _not_run("a number in the arguments is larger than a number can be")
        try:
            status, body = self._ask("POST", "/call", ANSWER_SECONDS, content)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return _not_run(self._unreachable(error))
        except httpx.HTTPError as error:
            raise Unanswered(type(error).__name__) from error
        if status == 200 and isinstance(body.get("output"), str):
            images = [url for url in body.get("images") or [] if isinstance(url, str) and _IMAGE.match(url)]
            return Outcome(body["output"], images=images)
        failed = body.get("error")
        if isinstance(failed, dict) and (status == 200 or failed.get("type") in _REFUSALS):
            return _failed(failed) if status == 200 else _not_run(self._refused(status, body))
        if status in {404, 405} or 300 <= status < 400:
            return _not_run(self._refused(status, body))
        if "killed by timeout" in str(body.get("message")):
            raise TookTooLong(
                "Dify ended the call at the limit that it sets to a whole one (PLUGIN_MAX_EXECUTION_TIMEOUT, 600 "
                "seconds unless it was changed)"
            )
        raise Unanswered(f"status {status}")

    def _ask(self, method: str, path: str, seconds: float, content: str | None = None) -> tuple[int, dict[str, Any]]:
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        headers = {"Content-Type": "application/json"} if content else {}
        with self._http.stream(method, self._url + path, content=content, headers=headers, timeout=timeout) as response:
            read = bytearray()
            for piece in response.iter_bytes():
                read += piece
                if len(read) > MOST_BYTES:
                    raise httpx.ReadError("the answer is too long")
            status = response.status_code
        try:
            answer = whole(json.loads(read))
        except (ValueError, RecursionError):
            answer = None
        return status, answer if isinstance(answer, dict) else {}

    def _unreachable(self, error: Exception) -> ToolsProblem:
        return ToolsProblem(
            f"{self._url} cannot be reached ({type(error).__name__})",
            "Start Dify, or write the endpoint's address into [[dify_tools]]",
        )

    def _refused(self, status: int, body: Mapping[str, Any]) -> ToolsProblem:
        error = body.get("error")
        said = str(error.get("message", "")) if isinstance(error, dict) else ""
        if status == 401:
            advice = "Write the token of the endpoint's settings in Dify into [[dify_tools]]"
            return ToolsProblem(f"{self._url} refused the token", advice)
        if status in {404, 405}:
            return self._absent(str(body.get("message")))
        problem = f"{self._url} answered {status}{f' ({said})' if said else ''}"
        return ToolsProblem(problem, "Look at the log of Dify's plugin_daemon")

    def _absent(self, said: str) -> ToolsProblem:
        """Return what a 404 means. Source: the plugin daemon's internal/server/endpoint.go and service/endpoint.go."""
        if "PluginDaemonNotFoundError" in said:
            problem = f"the endpoint of Clawback Tools at {self._url} is switched off"
            return ToolsProblem(problem, "Switch it on in Dify, under Plugins, Clawback Tools")
        if "plugin not found" in said or "plugin installation not found" in said:
            problem = f"Clawback Tools, whose endpoint was {self._url}, is not installed"
            return ToolsProblem(problem, "Install it in Dify, and see that its endpoint is still there")
        return ToolsProblem(
            f"there is no endpoint of Clawback Tools at {self._url}",
            "Write the address that Dify shows under Plugins, Clawback Tools into [[dify_tools]]",
        )


def picked(entries: Iterable[Mapping[str, Any]], schemas: Mapping[Key, Function] | None = None) -> list[PickedTool]:
    """Return the tools of an endpoint's setting, each under a name of its own, with the `schemas` that are known."""
    found: dict[str, PickedTool] = {}
    for entry in entries:
        type_, provider, tool = (str(entry.get(key) or "") for key in ("type", "provider_name", "tool_name"))
        if not (provider and tool):
            continue
        key = (type_ or "builtin", provider, tool)
        name, known = _free_name(tool, provider, found), (schemas or {}).get(key)
        function = Function(
            name=name,
            description=_description(entry) or (known.description if known else None),
            parameters=_typed(entry, known.parameters) if known else _parameters(entry),
        )
        found[name] = PickedTool(*key, ToolDefinition(function=function))
    return list(found.values())


def _free_name(tool: str, provider: str, taken: Mapping[str, PickedTool]) -> str:
    wanted = _NOT_IN_NAMES.sub("_", tool)[:64]
    if wanted not in taken:
        return wanted
    longer = _NOT_IN_NAMES.sub("_", f"{provider.rsplit('/', 1)[-1]}_{tool}")[:60]
    numbered = (longer if number == 1 else f"{longer}_{number}" for number in range(1, len(taken) + 3))
    return next(name for name in numbered if name not in taken)


def _description(entry: Mapping[str, Any]) -> str | None:
    extra = entry.get("extra")
    said = (extra.get("description") if isinstance(extra, dict) else None) or entry.get("tool_description")
    if isinstance(said, dict):
        said = said.get("en_US") or next(iter(said.values()), None)
    return str(said) if said else None


def _parameters(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The setting knows the names of a tool's parameters, and nothing else of them."""
    names = entry.get("parameters")
    open_names = [
        name
        for name, value in (names.items() if isinstance(names, dict) else ())
        if not isinstance(value, dict) or value.get("auto", 1)
    ]
    return {"type": "object", "properties": {name: {"type": "string"} for name in open_names}}


def _typed(entry: Mapping[str, Any], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a schema without the parameters that are fixed where the tool was picked."""
    form = entry.get("parameters")
    fixed = (
        {name for name, value in form.items() if isinstance(value, dict) and not value.get("auto", 1)}
        if (isinstance(form, dict))
        else set()
    )
    left = dict(schema or {"type": "object", "properties": {}})
    left["properties"] = {name: each for name, each in left.get("properties", {}).items() if name not in fixed}
    required = [name for name in left.pop("required", []) if name not in fixed]
    return left | ({"required": required} if required else {})


def _not_run(problem: str | ToolsProblem) -> Outcome:
    return Outcome(f"Error: {problem}. Nothing was run.", is_error=True)


def _failed(error: Mapping[str, Any]) -> Outcome:
    said = str(error.get("message") or "the tool failed")
    if error.get("type") == "timeout":
        said = f"{said}. The tool did not answer in time; it may have run all the same"
    return Outcome(f"Error: {said}", is_error=True)
