"""The kinds of tools that responses know beside functions, taken as functions, and their calls given back as they came.

    kind                                      on offer as                      its call is given back as
    ----------------------------------------  -------------------------------  ----------------------------------
    function                                  itself                           function_call
    namespace of functions                    `<namespace>__<name>` each       function_call, name plus namespace
    custom                                    a function of one text, `input`  custom_tool_call
    local_shell                               a function of its action         local_shell_call
    tool_search that the client executes      a function                       tool_search_call
    web_search and all that OpenAI's servers  not at all: nobody here can      -
    run themselves                            run it

Source: OpenAI's API reference, responses, and requests of Codex 0.169.0.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tools.calls import arguments_of
from tools.definitions import Function

Kind = Literal["function", "custom", "local_shell", "tool_search"]

_CUSTOM = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
_SHELL = {
    "type": "object",
    "properties": {
        "command": {"type": "array", "items": {"type": "string"}},
        "working_directory": {"type": "string"},
        "timeout_ms": {"type": "integer"},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["command"],
}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a function on offer is to its client."""

    kind: Kind = "function"
    name: str = ""
    namespace: str | None = None


def flat_name(name: str, namespace: str | None) -> str:
    """Return the name under which the model knows a function."""
    if not namespace:
        return name
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


def functions_of(tools: Iterable[Any]) -> Iterator[tuple[str, dict[str, Any], Origin]]:
    """Yield the functions on offer, each with its path in `tools`. What nobody here can run is left out."""
    for position, tool in enumerate(tools):
        path = f"[{position}]"
        kind = tool.get("type")
        match kind:
            case "namespace":
                inner = tool.get("tools")
                space = str(tool.get("name") or "")
                for below, function, origin in functions_of(inner if isinstance(inner, list) else []):
                    flat = function | {"name": flat_name(str(function.get("name") or ""), space)}
                    yield f"{path}.tools{below}", flat, replace(origin, namespace=space)
            case "function":
                yield path, tool, Origin(name=str(tool.get("name")))
            case "custom":
                yield path, _custom(tool), Origin("custom", str(tool.get("name")))
            case "local_shell":
                told = "Run a command on the user's machine."
                yield path, {"name": kind, "description": told, "parameters": _SHELL}, Origin(kind, kind)
            case "tool_search" if tool.get("execution") == "client" and tool.get("parameters"):
                yield path, {**tool, "name": kind}, Origin(kind, kind)


def left_out(tools: Iterable[Any]) -> list[str]:
    """Return the kinds of tools that nobody here can run."""
    kinds = [str(tool.get("type")) for tool in tools if isinstance(tool, Mapping) and not _is_taken(tool)]
    return list(dict.fromkeys(kinds))


def note_of(tools: Iterable[Any]) -> str | None:
    """Return what is said of the tools that were left out, None where there were none."""
    kinds = left_out(tools)
    return f"tools that nobody here can run were left out: {', '.join(kinds)}" if kinds else None


def _is_taken(tool: Mapping[str, Any]) -> bool:
    return tool.get("type") in {"namespace", "function"} or any(functions_of([tool]))


def _custom(tool: Mapping[str, Any]) -> dict[str, Any]:
    given = tool.get("format")
    grammar = given.get("definition") if isinstance(given, Mapping) else None
    says = [str(tool.get("description") or ""), f"`input` follows this grammar:\n{grammar}" if grammar else ""]
    return {"name": tool.get("name"), "description": "\n\n".join(filter(None, says)) or None, "parameters": _CUSTOM}


def echoed(tools: Iterable[Any]) -> list[dict[str, Any]]:
    """Return tools as a response repeats them."""
    return [
        {"type": "function", **Function.model_validate(tool).model_dump()} if tool.get("type") == "function" else tool
        for tool in tools
    ]


def origins_of(tools: Iterable[Any]) -> dict[str, Origin]:
    """Return what each function on offer is to its client, by the name that the model knows."""
    return {str(function.get("name")): origin for _, function, origin in functions_of(tools)}


def call_item(origin: Origin, call_id: str, arguments: str) -> dict[str, Any]:
    """Return the item that asks the client for a call, but for its status."""
    said = arguments_of(arguments) or {}
    match origin.kind:
        case "custom":
            text = said.get("input", arguments)
            body = {"name": origin.name, "input": text if isinstance(text, str) else json.dumps(text)}
            item = {"id": f"ctc_{call_id}", "type": "custom_tool_call", "call_id": call_id, **body}
        case "local_shell":
            action: dict[str, Any] = {"type": "exec", "env": {}, **said}
            return {"id": f"lsh_{call_id}", "type": "local_shell_call", "call_id": call_id, "action": action}
        case "tool_search":
            search = {"id": f"tsc_{call_id}", "type": "tool_search_call", "call_id": call_id}
            return search | {"execution": "client", "arguments": said}
        case "function":
            body = {"name": origin.name, "arguments": arguments}
            item = {"id": f"fc_{call_id}", "type": "function_call", "call_id": call_id, **body}
    return item | ({"namespace": origin.namespace} if origin.namespace else {})
