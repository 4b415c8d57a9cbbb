"""Pieces of requests."""

from typing import Any

Json = dict[str, Any]


def tool(name: str, **properties: Any) -> Json:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


WRITE = tool("write", path={"type": "string"}, content={"type": "string"})
EXEC = tool("exec", command={"type": "string"})
TOOLS = [WRITE, EXEC]


def user(*lines: str) -> Json:
    return {"role": "user", "content": "\n".join(lines)}


def calls(*ids: str, name: str = "exec") -> Json:
    function = {"name": name, "arguments": '{"command": "ls"}'}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": each, "type": "function", "function": function} for each in ids],
    }


def result(identifier: str, content: Any = "ok") -> Json:
    return {"role": "tool", "tool_call_id": identifier, "content": content}


def after(question: Json, *results: str) -> list[Json]:
    """The transcript after as many rounds of one call each as there are results."""
    messages = [question]
    for number, text in enumerate(results):
        messages += [calls(f"call_{number}"), result(f"call_{number}", text)]
    return messages
