"""What Dify's console knows of the workspace's tools: their typed parameters, which nothing else tells.

GET /console/api/workspaces/current/tools/{builtin,api,workflow,mcp}, with the cookies of a login. Dify takes the
password in Base64 (since 1.11), and wants the CSRF token of a cookie in a header; behind HTTPS the cookies' names begin
with `__Host-`.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from bridge.dify.tools import Key
from tools.definitions import Function

TYPES = ("builtin", "api", "workflow", "mcp")
_SECONDS = 60.0
_PLAIN = {"string": "string", "number": "number", "boolean": "boolean", "checkbox": "boolean", "object": "object"}


class ConsoleProblem(Exception):
    """The console did not say it. The text says what to change, and holds no password."""


def read_tools(url: str, email: str, password: str) -> list[dict[str, Any]]:
    """Log in, list all providers of tools, and log out. `url` is that of Dify's page. Raises ConsoleProblem."""
    with httpx.Client(base_url=f"{url.rstrip('/')}/console/api", timeout=_SECONDS) as http:
        try:
            return _read(http, email, password)
        except httpx.HTTPError as error:
            raise ConsoleProblem(f"{url} cannot be reached: {type(error).__name__}") from None


def _read(http: httpx.Client, email: str, password: str) -> list[dict[str, Any]]:
    encoded = base64.b64encode(password.encode()).decode()
    login = http.post("/login", json={"email": email, "password": encoded, "remember_me": False})
    if login.status_code != 200:
        raise ConsoleProblem(
            f"Dify did not take the login: {_said(login)}. Where people log in by SSO, use --from FILE"
        )
    # Sent by hand: a cookie that is marked as secure would not go over plain HTTP.
    cookies = {cookie.name: cookie.value or "" for cookie in login.cookies.jar}
    csrf = cookies.get("csrf_token") or cookies.get("__Host-csrf_token", "")
    sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = {"Cookie": sent, "X-CSRF-Token": csrf}
    providers: list[dict[str, Any]] = []
    for type_ in TYPES:
        answer = http.get(f"/workspaces/current/tools/{type_}", headers=headers)
        if answer.status_code != 200:
            raise ConsoleProblem(f"Dify did not list the tools of the type {type_}: {_said(answer)}")
        providers += providers_in(answer.json(), type_)
    http.post("/logout", headers=headers)
    return providers


def _said(answer: httpx.Response) -> str:
    try:
        return f"{answer.status_code} {answer.json().get('message', '')}".strip(" .")
    except (ValueError, AttributeError):
        return str(answer.status_code)


def providers_in(saved: Any, type_: str = "") -> list[dict[str, Any]]:
    """Return the providers in an answer of the console, or in several by their type. Raises ConsoleProblem."""
    if isinstance(saved, Mapping) and set(saved) <= set(TYPES):
        return [provider for each in saved for provider in providers_in(saved[each], each)]
    if not isinstance(saved, list) or not all(isinstance(each, dict) and "tools" in each for each in saved):
        raise ConsoleProblem(
            "these are no tools of Dify: save what /console/api/workspaces/current/tools/builtin (api, workflow, mcp) "
            'answers, or {"builtin": [...], "api": [...], ...}'
        )
    return [each if "type" in each or not type_ else each | {"type": type_} for each in saved]


def schemas_of(providers: Iterable[Mapping[str, Any]]) -> dict[Key, Function]:
    """Return what a model is to be told of each tool, by its type, its provider's id and its name."""
    found: dict[Key, Function] = {}
    for provider in providers:
        type_ = "builtin" if provider.get("type") in {"plugin", "builtin", None} else str(provider["type"])
        for tool in provider.get("tools") or []:
            function = Function(
                name="tool",
                description=_text(tool.get("description")) or _text(tool.get("label")),
                parameters=_parameters(tool.get("parameters") or []),
            )
            for name in {str(provider.get("id") or ""), str(provider.get("name") or "")} - {""}:
                found[type_, name, str(tool.get("name"))] = function
    return found


def _parameters(parameters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    asked = [each for each in parameters if each.get("form", "llm") == "llm"]
    schema: dict[str, Any] = {"type": "object", "properties": {str(each["name"]): _property(each) for each in asked}}
    required = [str(each["name"]) for each in asked if each.get("required")]
    return schema | ({"required": required} if required else {})


def _property(parameter: Mapping[str, Any]) -> dict[str, Any]:
    type_ = str(parameter.get("type") or "string")
    known = parameter.get("input_schema")
    schema: dict[str, Any] = dict(known) if isinstance(known, dict) else {"type": _PLAIN.get(type_, "string")}
    if type_ in {"array", "files"} and not isinstance(known, dict):
        schema = {"type": "array", "items": {"type": "string"} if type_ == "files" else {}}
    options = [option["value"] for option in parameter.get("options") or [] if "value" in option]
    if type_ == "select" and options:
        schema["enum"] = options
    if parameter.get("multiple") and type_ == "select":
        schema = {"type": "array", "items": schema}
    bounds = {"minimum": parameter.get("min"), "maximum": parameter.get("max")} if type_ == "number" else {}
    said = parameter.get("llm_description") or _text(parameter.get("human_description"))
    more = bounds | {"description": said, "default": parameter.get("default")}
    return schema | {name: value for name, value in more.items() if value not in (None, "")}


def _text(said: Any) -> str | None:
    """Return a text that Dify may have in several languages."""
    if isinstance(said, Mapping):
        said = said.get("en_US") or next(filter(None, said.values()), None)
    return str(said) if said else None
