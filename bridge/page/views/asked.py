"""What a run was asked, as far as it may be shown. A request is long, and is read once."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from bridge.runs.requests import RunRequest
from tools.definitions import ToolDefinition

_KEPT = 200
_TITLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: how much it held, and what it said."""

    messages: int = 0
    characters: int = 0
    query: str = ""
    tools: dict[str, ToolDefinition] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The beginning of what was said: its first line."""
        first = next((line for line in self.query.splitlines() if line.strip()), "")
        return " ".join(first.split())[:_TITLE_CHARACTERS]


class Requests:
    """Reads requests, and remembers the last of them. A later attempt of a run may have another one."""

    def __init__(self) -> None:
        self._read: OrderedDict[tuple[str, int], Asked] = OrderedDict()

    def known(self, run_id: str, attempt: int) -> Asked | None:
        """Return a request that was read before."""
        return self._read.get((run_id, attempt))

    def read(self, run_id: str, attempt: int, request: str) -> Asked:
        """Return what is in a request, JSON text."""
        known = self._read.get((run_id, attempt))
        if known is None:
            known = self._read[run_id, attempt] = _asked(RunRequest.model_validate_json(request))
            if len(self._read) > _KEPT:
                self._read.popitem(last=False)
        return known


def _asked(request: RunRequest) -> Asked:
    return Asked(
        messages=len(request.messages),
        characters=len(request.query),
        query=request.query,
        tools={tool.name: tool for tool in request.tools},
    )


def description(definition: ToolDefinition | None) -> str:
    """Return what a tool says of itself."""
    return (definition.function.description or "") if definition else ""


def schema(definition: ToolDefinition | None) -> dict[str, Any] | None:
    """Return the schema of a tool's arguments, if it has one."""
    return definition.function.parameters if definition else None
