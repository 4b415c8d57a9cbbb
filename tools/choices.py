"""Which tools a model may, must or must not call."""

from collections.abc import Collection
from typing import Any

ToolChoice = str | dict[str, Any]
"""`auto`, `none`, `required`, or OpenAI's object that names a function."""


def named(name: str) -> dict[str, Any]:
    """Return OpenAI's object that makes a model call `name`."""
    return {"type": "function", "function": {"name": name}}


def forced_name(choice: ToolChoice | None) -> str | None:
    """Return the name of the function that `choice` forces, if it forces one."""
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return name if isinstance(name, str) else None
    return None


def resolve(node: str | None, client: ToolChoice | None, offered: Collection[str]) -> ToolChoice:
    """Return the choice for the next upstream call.

    `node` is the node's setting: `client`, `auto`, `none`, `required` or a tool's name. What asks for a tool
    that is not offered, or for any tool where none is offered, becomes `auto`: an upstream would refuse it.
    """
    node = (node or "client").strip()
    choice: ToolChoice
    if node == "client":
        choice = client or "auto"
    elif node in {"auto", "none", "required"}:
        choice = node
    else:
        choice = named(node)
    name = forced_name(choice)
    if name is not None:
        return choice if name in offered else "auto"
    if choice == "required" and not offered:
        return "auto"
    return choice if choice in {"auto", "none", "required"} else "auto"


def after_round(choice: ToolChoice) -> ToolChoice:
    """Return the choice once a round answered it: a forced call is forced once, or it would never end."""
    return "auto" if choice == "required" or forced_name(choice) else choice
