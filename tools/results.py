"""What comes back from a tool."""

import re
from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

Message = dict[str, Any]
"""A chat message in OpenAI's form."""

_IMAGE_URL = re.compile(r"^(data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+|https?://\S+)$")


class ToolResult(BaseModel):
    """The result of one call.

    `output` may be given as text or as OpenAI's content parts (`text`, `image_url`); it is kept as the text of all
    parts, and their images, as `data:` or `https:` URLs, in `images`.
    """

    tool_call_id: str
    output: str
    is_error: bool = False
    images: list[str] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _take_parts(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("output"), list):
            return values
        text, images = _split(values["output"])
        return values | {"output": text, "images": [*images, *(values.get("images") or ())]}

    @model_validator(mode="after")
    def _has_sound_images(self) -> Self:
        for url in self.images:
            if not _IMAGE_URL.match(url):
                raise ValueError("an image must be an https URL, or data:image/(png|jpeg|gif|webp);base64,...")
        return self

    def to_message(self) -> Message:
        """Return the tool message; its content is always a string, since some upstreams refuse arrays.

        Images follow in a message of their own: see `images_message`.
        """
        shown = f"({len(self.images)} image{'s' if self.images[1:] else ''}, shown below)" if self.images else ""
        output = as_error(self.output) if self.is_error else self.output
        content = "\n".join(text for text in (output, shown) if text)
        return {"role": "tool", "tool_call_id": self.tool_call_id, "content": content}


NO_OUTPUT = "(no output)"


def as_error(output: str) -> str:
    """Return what a model is told of a failed call: no field of a tool message says that it failed."""
    return output if output.lstrip().lower().startswith("error") else f"Error: {output.strip() or NO_OUTPUT}"


def images_message(results: Iterable[ToolResult]) -> Message | None:
    """Return the user message that shows the images of a round's results, or None where there are none."""
    parts: list[dict[str, Any]] = []
    for result in results:
        if result.images:
            parts.append({"type": "text", "text": f"Images in the result of {result.tool_call_id}:"})
            parts.extend({"type": "image_url", "image_url": {"url": url}} for url in result.images)
    return {"role": "user", "content": parts} if parts else None


def _split(parts: list[Any]) -> tuple[str, list[str]]:
    texts: list[str] = []
    images: list[str] = []
    for number, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            image = part.get("image_url")
            images.append(str(image.get("url") if isinstance(image, dict) else image))
        else:
            raise ValueError(f"output[{number}] must be a part of the type text or image_url")
    return "\n".join(texts), images


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
