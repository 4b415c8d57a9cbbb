"""The fields before tools: `functions`, `function_call` and the role `function`, read as tools.

    functions: [{name, ...}]              tools: [{type: function, function: {name, ...}}]
    function_call: auto | none | {name}   tool_choice: auto | none | {type: function, function: {name}}
    assistant.function_call               assistant.tool_calls of one call
    role function, name                   role tool, tool_call_id

A client of this kind knows no ids and takes one call at a time. The ids are made up here, and those of the turn in
progress are replaced by the real ones where the run is known (`recall`). Home Assistant's Extended OpenAI Conversation
leaves the assistant's message out: its call is made up as well, with arguments that nobody knows. Source: OpenAI's API
reference, deprecated fields of chat completions.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from bridge.api.openai.chat_messages import Part
from bridge.runs.services import in_pieces
from bridge.runs.transcripts import grown
from tools.choices import ToolChoice, named
from tools.definitions import Function, ToolDefinition
from tools.results import Message

UNKNOWN_ARGUMENTS = ""


class FunctionName(Part):
    """A function, by its name."""

    name: str = Field(min_length=1)


def _word_or_name(choice: Any) -> str:
    return "word" if isinstance(choice, str) else "name"


FunctionCallChoice = Annotated[
    Annotated[Literal["none", "auto"], Tag("word")] | Annotated[FunctionName, Tag("name")],
    Discriminator(_word_or_name),
]


@grown(False)
def speak_of_functions(before: bool, messages: Sequence[Message], count: int) -> bool:
    """Say whether the transcript is that of a client which knows functions instead of tools."""
    return before or any(message["role"] == "function" or "function_call" in message for message in messages[count:])


def modern_tools(functions: Sequence[Function]) -> list[ToolDefinition]:
    """Return the functions as tools."""
    return [ToolDefinition(function=function) for function in functions]


def modern_choice(choice: str | FunctionName | None) -> ToolChoice | None:
    """Return the choice among functions as one among tools."""
    return named(choice.name) if isinstance(choice, FunctionName) else choice


def modern_messages(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages with tool calls instead of function calls."""
    if not speak_of_functions(messages):
        return messages
    modern: list[Message] = []
    asked: tuple[str, str] | None = None
    for position, message in enumerate(in_pieces(messages)):
        if call := message.get("function_call"):
            asked = (call["name"], _made_up_id(position, call))
            modern.append(_asking(message, asked[1], call))
        elif message["role"] == "function":
            name = message["name"]
            if asked is None or asked[0] != name:
                call = {"name": name, "arguments": UNKNOWN_ARGUMENTS}
                asked = (name, _made_up_id(position, call))
                modern.append(_asking({"role": "assistant"}, asked[1], call))
            modern.append({"role": "tool", "tool_call_id": asked[1], "content": message.get("content") or ""})
            asked = None
        else:
            modern.append(message)
    return modern


def _asking(message: Message, call_id: str, call: dict[str, str]) -> Message:
    said = {name: value for name, value in message.items() if name != "function_call"}
    return said | {"tool_calls": [{"id": call_id, "type": "function", "function": call}]}


def _made_up_id(position: int, call: dict[str, str]) -> str:
    material = f"{position} {call['name']} {call['arguments']}"
    return f"fn{hashlib.sha256(material.encode(errors='replace')).hexdigest()[:24]}"
