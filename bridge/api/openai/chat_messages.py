"""The messages of a chat completion request, checked.

Source: OpenAI's API reference, chat completions. Unknown fields are ignored, as OpenAI's servers do.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

LONGEST_CALL_ID = 256


class Part(BaseModel):
    """What all parts of a request have in common."""

    # The sentence below a field is what the reference and the OpenAPI document say of it.
    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


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


class ImagePart(Part):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class FileData(Part):
    """A file as a data URI."""

    file_data: str = Field(pattern=r"^data:")
    filename: str | None = None


class FilePart(Part):
    """A file. Files that were uploaded to OpenAI are out of the bridge's reach."""

    type: Literal["file"]
    file: FileData


def _refuse_audio(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "input_audio":
        raise ValueError("audio is not supported; use text, image_url or file parts")
    return value


def _string_or_parts(value: Any) -> str:
    return "parts" if isinstance(value, list) else "string"


type _Text = Annotated[str, Tag("string")]
type _TextParts = Annotated[list[TextPart], Field(min_length=1), Tag("parts")]
type _UserPart = Annotated[
    Annotated[TextPart | ImagePart | FilePart, Field(discriminator="type")], BeforeValidator(_refuse_audio)
]
type _AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]

TextContent = Annotated[_Text | _TextParts, Discriminator(_string_or_parts)]
UserContent = Annotated[
    _Text | Annotated[list[_UserPart], Field(min_length=1), Tag("parts")], Discriminator(_string_or_parts)
]
AssistantContent = Annotated[_Text | Annotated[list[_AssistantPart], Tag("parts")], Discriminator(_string_or_parts)]


class FunctionCall(Part):
    """The function of a tool call. `arguments` is JSON text."""

    name: str = Field(min_length=1)
    arguments: str = "{}"


class MessageToolCall(Part):
    """One entry of an assistant message's `tool_calls`."""

    id: str = Field(min_length=1, max_length=LONGEST_CALL_ID)
    type: Literal["function"] = "function"
    function: FunctionCall


class SystemMessage(Part):
    """Instructions."""

    role: Literal["system", "developer"]
    content: TextContent
    name: str | None = None


class UserMessage(Part):
    """What the user says: text, or parts of text, images and files."""

    role: Literal["user"]
    content: UserContent
    name: str | None = None


class AssistantMessage(Part):
    """What the model said, with the tool calls it asked for. `function_call` is from before there were tools."""

    role: Literal["assistant"]
    content: AssistantContent | None = None
    refusal: str | None = None
    tool_calls: list[MessageToolCall] | None = None
    function_call: FunctionCall | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _refusal_is_content(self) -> "AssistantMessage":
        if self.refusal and not self.content:
            self.content = self.refusal
        self.refusal = None
        if isinstance(self.content, list):
            self.content = "".join(part.text if isinstance(part, TextPart) else part.refusal for part in self.content)
        return self


class ToolMessage(Part):
    """What a tool answered."""

    role: Literal["tool"]
    tool_call_id: str = Field(min_length=1, max_length=LONGEST_CALL_ID)
    content: TextContent | None = ""


class FunctionMessage(Part):
    """What a function answered, from before there were tools."""

    role: Literal["function"]
    name: str = Field(min_length=1)
    content: str | None = None


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage, Field(discriminator="role")
]
