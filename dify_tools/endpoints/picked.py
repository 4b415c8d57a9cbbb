"""The tools that the workspace's owner picked in the endpoint's settings: nothing else may be called.

Dify hands the setting over as its page saved it (web/app/components/plugins/plugin-detail-panel/tool-selector).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TYPES = ("builtin", "workflow", "api", "mcp")
_WRAPPING = {"auto", "type", "value"}


@dataclass(frozen=True, slots=True)
class Pick:
    """One picked tool. `fixed` are the parameters that its form holds; `entry` is all that the setting knows of it."""

    type: str
    provider: str
    tool: str
    credential_id: str | None
    fixed: Mapping[str, Any]
    entry: Mapping[str, Any]


def picks(settings: Mapping[str, Any]) -> list[Pick]:
    """Return the tools that may be called."""
    entries = settings.get("tools")
    read = [_pick(entry) for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    return [pick for pick in read if pick.type in TYPES and pick.provider and pick.tool]


def find(settings: Mapping[str, Any], type_: str, provider: str, tool: str) -> Pick | None:
    """Return the picked tool of this name."""
    wanted = (type_, provider, tool)
    return next((pick for pick in picks(settings) if (pick.type, pick.provider, pick.tool) == wanted), None)


def _pick(entry: Mapping[str, Any]) -> Pick:
    is_enabled = entry.get("enabled", True)
    return Pick(
        type=str(entry.get("type") or "builtin") if is_enabled else "",
        provider=str(entry.get("provider_name") or ""),
        tool=str(entry.get("tool_name") or ""),
        credential_id=entry.get("credential_id") or None,
        fixed=_values(entry.get("parameters"), only_fixed=True) | _values(entry.get("settings")),
        entry=entry,
    )


def _values(form: Any, *, only_fixed: bool = False) -> dict[str, Any]:
    """Return the values of a form. One that is left to the model is `{auto: 1, value: null}` there."""
    if not isinstance(form, Mapping):
        return {}
    chosen = {
        name: value
        for name, value in form.items()
        if not only_fixed or (isinstance(value, Mapping) and "auto" in value and not value["auto"])
    }
    values = {name: _unwrapped(value) for name, value in chosen.items()}
    return {name: value for name, value in values.items() if value is not None}


def _unwrapped(value: Any) -> Any:
    while isinstance(value, Mapping) and "value" in value and _WRAPPING.issuperset(value):
        value = value["value"]
    return value
