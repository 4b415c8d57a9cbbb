"""A tool's messages as one answer: its text, its images and links to its files."""

import base64
import json
from collections.abc import Iterable
from typing import Any

MOST_CHARACTERS = 1_000_000
"""How much text one answer holds; the bridge cuts it to what a model is given."""

_IMAGE_TYPES = {"image/png", "image/jpeg", "image/gif", "image/webp"}


def collected(messages: Iterable[Any]) -> dict[str, Any]:
    """Return `{"output", "images", "files"}` of the SDK's messages.

    A workflow tells each of its outputs as a variable, and all of them as JSON and as text; what was told in another
    form already is left out.
    """
    texts: list[str] = []
    objects: list[Any] = []
    variables: dict[str, Any] = {}
    images: list[str] = []
    files: list[str] = []
    for each in messages:
        kind, message = each.type.value, each.message
        match kind:
            case "text":
                texts.append(message.text)
            case "json":
                objects.append(message.json_object)
            case "variable":
                _add_variable(variables, message)
            case "image" | "image_link":
                (images if message.text.startswith(("http://", "https://", "data:image/")) else files).append(
                    message.text
                )
            case "link" | "file" if hasattr(message, "text"):
                files.append(message.text)
            case "blob":
                _add_blob(message.blob, (each.meta or {}).get("mime_type", ""), images, files)
    objects = [each for each in objects if not _is_told(each, texts)]
    if not texts and not objects and variables:
        objects = [variables]
    said = [*texts, *(json.dumps(each, ensure_ascii=False) for each in objects), *(f"File: {url}" for url in files)]
    return {"output": "\n".join(filter(None, said))[:MOST_CHARACTERS], "images": images, "files": files}


def _add_variable(variables: dict[str, Any], message: Any) -> None:
    if message.stream:
        variables[message.variable_name] = variables.get(message.variable_name, "") + message.variable_value
    else:
        variables[message.variable_name] = message.variable_value


def _add_blob(blob: bytes, mime_type: str, images: list[str], files: list[str]) -> None:
    if mime_type in _IMAGE_TYPES:
        images.append(f"data:{mime_type};base64,{base64.b64encode(blob).decode()}")
    else:
        files.append(f"({mime_type or 'a file'} of {len(blob)} bytes, which the tool gave no link for)")


def _is_told(value: Any, texts: list[str]) -> bool:
    for text in texts:
        try:
            if json.loads(text) == value:
                return True
        except ValueError:
            continue
    return False
