"""The messages of a chat completion request, checked.

Source: OpenAI's API reference, chat completions. Unknown fields are ignored, as OpenAI's servers do.
"""

import base64
import json
import re
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from bridge.runs.transcripts import Said
from tools.carried import REASONING, of_call, sealed
from tools.marker import without_markers


class Part(BaseModel):
    """What all parts of a request have in common."""

    # The sentence below a field is what the reference and the OpenAPI document say of it.
    model_config = ConfigDict(extra="ignore", defer_build=True)


class TextPart(Part):
    """Text."""

    type: Literal["text"]
    text: str


class RefusalPart(Part):
    """The model's refusal."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(Part):
    """Where an image is: a URL, or the image itself as a data URI."""

    url: str = Field(pattern=r"^(https?://|data:image/)")
    detail: Literal["auto", "low", "high", "original"] | None = None


def _with_url(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class ImagePart(Part):
    """An image; some clients leave the object around its URL out."""

    type: Literal["image_url"]
    image_url: Annotated[ImageUrl, BeforeValidator(_with_url)]


class FileData(Part):
    """A file as a data URI."""

    file_data: str = Field(pattern=r"^data:")
    filename: str | None = None


class SoundData(Part):
    """A sound as base64."""

    data: str = Field(min_length=1)
    format: Literal["wav", "mp3"]


class SoundPart(Part):
    """A sound."""

    type: Literal["input_audio"]
    input_audio: SoundData


class FilePart(Part):
    """A file. Files that were uploaded to OpenAI are out of the bridge's reach."""

    type: Literal["file"]
    file: FileData


def _refuse_in_results(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") in {"file", "input_audio"}:
        raise ValueError("a tool's result holds text and images alone; send what is in the file as text")
    return value


_TEXTS = re.compile(
    r"data:(text/|application/(json|xml|yaml|x-yaml|toml|javascript|x-sh)|[^,;]*\+(json|xml))[^,]*,", re.I
)


def text_in(file_data: str) -> str | None:
    """Return what stands in a file that is text, None where it is none."""
    head = _TEXTS.match(file_data)
    if head is None:
        return None
    data = file_data[head.end() :]
    try:
        return base64.b64decode(data, validate=True).decode() if ";base64" in head[0].lower() else unquote(data)
    except ValueError:
        return None


def _string_or_parts(value: Any) -> str:
    return "parts" if isinstance(value, list) else "string"


def text_of_nothing(value: Any) -> Any:
    """Return an empty text instead of nothing."""
    return "" if value in (None, []) else value


type _Text = Annotated[str, Tag("string")]
type _TextParts = Annotated[list[TextPart], Tag("parts")]
type _UserPart = Annotated[TextPart | ImagePart | FilePart | SoundPart, Field(discriminator="type")]
type _ResultPart = Annotated[
    Annotated[TextPart | ImagePart, Field(discriminator="type")], BeforeValidator(_refuse_in_results)
]


class ThoughtPart(Part):
    """What a model thought, as some clients keep it; nothing of it goes back."""

    type: Literal["thinking", "redacted_thinking", "reasoning"]


type _AssistantPart = Annotated[TextPart | RefusalPart | ThoughtPart, Field(discriminator="type")]

# Clients keep messages without content in their transcripts: what is over and done is not refused.
TextContent = Annotated[_Text | _TextParts, Discriminator(_string_or_parts), BeforeValidator(text_of_nothing)]
UserContent = Annotated[
    _Text | Annotated[list[_UserPart], Tag("parts")],
    Discriminator(_string_or_parts),
    BeforeValidator(text_of_nothing),
]


def data_as_text(value: Any) -> Any:
    """Return data that is neither text nor parts as JSON text."""
    is_data = not isinstance(value, str | list | None) or (
        isinstance(value, list) and not all(isinstance(part, dict) and "type" in part for part in value)
    )
    return json.dumps(value, ensure_ascii=False) if is_data else value


ResultContent = Annotated[
    _Text | Annotated[list[_ResultPart], Tag("parts")], Discriminator(_string_or_parts), BeforeValidator(data_as_text)
]
"""Text or parts; some clients send data as it is."""
AssistantContent = Annotated[_Text | Annotated[list[_AssistantPart], Tag("parts")], Discriminator(_string_or_parts)]


def _as_json(value: Any) -> Any:
    return value if isinstance(value, str) else json.dumps({} if value is None else value, ensure_ascii=False)


def _as_id(value: Any) -> Any:
    return "" if value is None else str(value) if isinstance(value, int | float) else value


CallId = Annotated[str, BeforeValidator(_as_id)]
"""Whatever a client made of it: ids of finished turns are no business of the bridge's, and its own are found again."""

ArgumentsText = Annotated[str, BeforeValidator(_as_json)]
"""JSON text; some clients send the object itself."""

CallName = Annotated[str, BeforeValidator(_as_id)]
"""A call without a name, which models make up and clients keep, is left out of what the model is told."""


class _Carrying(Part):
    """Keeps the fields in which a server wants back what it said (`tools.carried`)."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class _Message(Part):
    """A message of the transcript."""

    @cached_property
    def said(self) -> Said:
        """The message as a run keeps it."""
        return Said(without_markers(self.model_dump(exclude_none=True)))


class FunctionCall(Part):
    """The function of a tool call. `arguments` is JSON text."""

    name: CallName = ""
    arguments: ArgumentsText = "{}"


class MessageToolCall(_Carrying):
    """One entry of an assistant message's `tool_calls`."""

    id: CallId = ""
    type: Annotated[Literal["function"], BeforeValidator(lambda _: "function")] = "function"
    function: FunctionCall

    @model_validator(mode="before")
    @classmethod
    def _custom_is_function(cls, value: Any) -> Any:
        custom = value.get("custom") if isinstance(value, dict) and "function" not in value else None
        if not isinstance(custom, dict):
            return value
        return value | {"function": {"name": custom.get("name"), "arguments": {"input": custom.get("input")}}}

    @model_serializer(mode="wrap")
    def _with_extras(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        given = self.model_extra or {}
        return {name: value for name, value in plain(self).items() if name not in given} | of_call(given)


class SystemMessage(_Message):
    """Instructions."""

    role: Literal["system", "developer"]
    content: TextContent
    name: str | None = None


class UserMessage(_Message):
    """What the user says: text, or parts of text, images and files."""

    role: Literal["user"]
    content: UserContent
    name: str | None = None


class AssistantMessage(_Message, _Carrying):
    """What the model said, with the tool calls it asked for. `function_call` is from before there were tools."""

    role: Literal["assistant"]
    content: AssistantContent | None = None
    refusal: str | None = None
    tool_calls: list[MessageToolCall] | None = None
    function_call: FunctionCall | None = None
    name: str | None = None

    @model_serializer(mode="wrap")
    def _with_extras(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        given = self.model_extra or {}
        own = {name: value for name, value in plain(self).items() if name not in given}
        return own | {name: given[name] for name in REASONING if isinstance(given.get(name), str)} | sealed(given)

    @model_validator(mode="after")
    def _refusal_is_content(self) -> "AssistantMessage":
        if self.refusal is not None:
            self.content = self.content or self.refusal or self.content
            self.refusal = None
        if isinstance(self.content, list):
            self.content = "".join(map(_spoken, self.content))
        return self


def _spoken(part: TextPart | RefusalPart | ThoughtPart) -> str:
    return part.text if isinstance(part, TextPart) else part.refusal if isinstance(part, RefusalPart) else ""


class ToolMessage(_Message):
    """What a tool answered."""

    role: Literal["tool"]
    tool_call_id: CallId
    content: ResultContent | None = ""


class FunctionMessage(_Message):
    """What a function answered, from before there were tools."""

    role: Literal["function"]
    name: str = Field(min_length=1)
    content: str | None = None


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage, Field(discriminator="role")
]
