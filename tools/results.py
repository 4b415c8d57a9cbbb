"""What comes back from a tool."""

from typing import Any

from pydantic import BaseModel

Message = dict[str, Any]
"""A chat message in OpenAI's form."""


class ToolResult(BaseModel):
    """The result of one call. `output` is text."""

    tool_call_id: str
    output: str
    is_error: bool = False

    def to_message(self) -> Message:
        """Return the tool message; its content is always a string, since some upstreams refuse arrays."""
        return {"role": "tool", "tool_call_id": self.tool_call_id, "content": self.output}


def text_of(content: object) -> str:
    """Return the text of a message's `content`: a string, None, or a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return str(content)
