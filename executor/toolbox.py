"""What a worker needs of its tools."""

from dataclasses import dataclass
from typing import Any, Protocol

from tools.results import ToolResult
from tools.surrogates import whole


class ToolboxError(Exception):
    """The tools cannot be reached; the text says what to change."""


@dataclass(frozen=True, slots=True)
class LeasedCall:
    """A call in this executor's hands. `tool_call_id` is the same however often it is handed out."""

    lease_id: str
    tool_call_id: str
    name: str
    arguments: str
    run_id: str

    def result(self, output: Any, *, is_error: bool = False) -> ToolResult:
        """Return the call's result; `output` is text or content parts."""
        values = {"tool_call_id": self.tool_call_id, "output": output, "is_error": is_error}
        result = ToolResult.model_validate(values)
        # Names of files may hold what cannot be sent.
        result.output = whole(result.output)
        return result


class Toolbox(Protocol):
    """Tools that can be run, from several threads at once."""

    def definitions(self) -> list[dict[str, Any]]:
        """Return the tools in OpenAI's form, each with `read_only` beside `function`. They may change over time."""
        ...

    def run(self, call: LeasedCall) -> ToolResult:
        """Run a call. What goes wrong in the tool is a result too, since the model has to learn of it."""
        ...

    def close(self) -> None:
        """Let go of what is behind the tools."""
        ...
