"""What an app is started with: the values for its Start node, and the files of the turn as Dify's.

For each variable the later one counts: `inputs` of the configuration, what `input_map` takes from the conversation,
the request's `metadata`, and the request's own `inputs`.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from bridge.config import App, Source
from bridge.dify import DifyClient, InputField
from bridge.dify.apps import AppFacts, FileRules
from bridge.errors import InvalidRequest, TooLarge
from bridge.runs.requests import RunRequest
from tools.results import Message, text_of

_TEXTS = {"text-input", "paragraph"}
_LIKELY = ("query", "question", "input", "text", "prompt", "message")


def start_inputs(
    app: App,
    facts: AppFacts,
    messages: Sequence[Message],
    query: str,
    body: Mapping[str, Any],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the values for a run. Raises InvalidRequest that names a variable which the app needs and nobody gave."""
    values: dict[str, Any] = dict(app.inputs)
    for name, source in (app.input_map or _usual_map(facts)).items():
        values[name] = _taken(source, messages, query, body)
    values |= given
    for field in facts.inputs or ():
        if field.required and values.get(field.name) is None and field.name != app.marker_input:
            raise InvalidRequest(
                f"the app behind {app.model!r} needs a value for {field.name!r} ({field.kind}): send it in `inputs` "
                "(extra_body.inputs in OpenAI's SDKs) or `metadata`, or set it in the bridge's configuration",
                code="missing_input",
                param=f"inputs.{field.name}",
            )
    return values


def given_inputs(facts: AppFacts, body: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the client itself gives: the request's `metadata`, and its own `inputs`.

    Metadata is for whoever keeps it: only what the app asks for by name is meant for it.
    """
    metadata = body.get("metadata")
    declared = None if facts.inputs is None else {field.name for field in facts.inputs}
    named = metadata.items() if isinstance(metadata, dict) else ()
    return {name: value for name, value in named if declared is None or name in declared} | dict(inputs)


def query_variable(app: App, facts: AppFacts) -> str | None:
    """Return the variable that takes the user's words, where the app has no query of its own."""
    return next((name for name, source in (app.input_map or _usual_map(facts)).items() if source == "query"), None)


def _usual_map(facts: AppFacts) -> dict[str, Source]:
    """A workflow or a text generator has no query: the user's words go to the variable that is there for them."""
    if facts.kind not in {"workflow", "completion"}:
        return {}
    texts = [field for field in facts.inputs or () if field.kind in _TEXTS]
    taker = _named(texts) or _only(texts) or _only([field for field in texts if field.required])
    return {taker.name: "query"} if taker else {}


def _named(texts: Sequence[InputField]) -> InputField | None:
    return next((field for name in _LIKELY for field in texts if field.name.lower() == name), None)


def _only(texts: Sequence[InputField]) -> InputField | None:
    return texts[0] if len(texts) == 1 else None


def _taken(source: Source, messages: Sequence[Message], query: str, body: Mapping[str, Any]) -> str:
    match source:
        case "query":
            return query
        case "system":
            return "\n\n".join(_texts(messages, "system", "developer"))
        case "transcript":
            said = [(str(m.get("role")), text_of(m.get("content"))) for m in messages]
            return "\n\n".join(f"{role}: {text}" for role, text in said if role in {"user", "assistant"} and text)
        case "messages":
            return json.dumps(list(messages), ensure_ascii=False)
        case "user":
            return str(body.get("user") or "")


def _texts(messages: Sequence[Message], *roles: str) -> list[str]:
    return [text_of(message.get("content")) for message in messages if message.get("role") in roles]


def files_of(client: DifyClient, facts: AppFacts, request: RunRequest, user: str) -> list[dict[str, str]]:
    """Return the files of the user's message that the app takes, uploaded where they are no URL.

    A model sees the images of a transcript whether its app takes them or not. Of other files only the app may know what
    to do with them: one that it does not take is refused. Raises BridgeError and DifyError.
    """
    if facts.inputs is None or request.turn is None:
        return []
    content = request.messages[request.turn].get("content")
    parts = content if isinstance(content, list) else []
    images = [str(part["image_url"]["url"]) for part in parts if part.get("type") == "image_url"]
    rules = facts.files.get("image")
    taken = [file for url in images[: rules.count] if (file := _image(client, rules, url, user))] if rules else []
    for part in parts:
        match part.get("type"):
            case "file":
                taken.append(_file(client, facts, part["file"], user))
            case "input_audio":
                taken.append(_sound(client, facts, part["input_audio"], user))
    return taken


def _image(client: DifyClient, rules: FileRules, url: str, user: str) -> dict[str, str]:
    if not url.startswith("data:"):
        return {"type": "image", "transfer_method": "remote_url", "url": url} if rules.urls else {}
    if not rules.uploads:
        return {}
    kind, image = _decoded(url, "an image")
    return _uploaded(client, rules, "image", (f"image.{_ending(kind)}", image, kind), user)


def _file(client: DifyClient, facts: AppFacts, file: Mapping[str, str], user: str) -> dict[str, str]:
    kind, content = _decoded(file["file_data"], "a file")
    name = file.get("filename") or f"document.{_ending(kind)}"
    ending = f".{name.rpartition('.')[2].lower()}"
    custom, document = facts.files.get("custom"), facts.files.get("document")
    if custom and custom.uploads and ending in custom.endings:
        return _uploaded(client, custom, "custom", (name, content, kind), user)
    if document is None or not document.uploads:
        raise _untaken(f"the file {name}", "Document")
    if ending not in _DOCUMENTS:
        if not _is_text(content):
            raise _untaken(f"the file {name}", "Document")
        # Dify knows a text by its name.
        name, kind = f"{name}.txt", "text/plain"
    return _uploaded(client, document, "document", (name, content, kind), user)


def _sound(client: DifyClient, facts: AppFacts, sound: Mapping[str, str], user: str) -> dict[str, str]:
    rules, ending = facts.files.get("audio"), sound["format"]
    if rules is None or not rules.uploads:
        raise _untaken("audio", "Audio")
    kind = "audio/mpeg" if ending == "mp3" else f"audio/{ending}"
    _, content = _decoded(f"data:{kind};base64,{sound['data']}", "audio")
    return _uploaded(client, rules, "audio", (f"audio.{ending}", content, kind), user)


def _uploaded(
    client: DifyClient, rules: FileRules, kind: str, file: tuple[str, bytes, str], user: str
) -> dict[str, str]:
    name, content, media_type = file
    if len(content) > rules.most_bytes:
        raise TooLarge(
            f"{name} has {len(content)} bytes, and the app's Dify takes {rules.most_bytes} "
            f"({rules.limit}); send a smaller one",
            param="messages",
        )
    upload_id = client.upload(name, content, media_type, user)
    return {"type": kind, "transfer_method": "local_file", "upload_file_id": upload_id}


def _untaken(what: str, kind: str) -> InvalidRequest:
    return InvalidRequest(
        f"the app does not take {what}: in Dify, switch on its file upload for {kind}, or send what is in it as text",
        code="file_not_taken",
        param="messages",
    )


def _ending(media_type: str) -> str:
    ending = media_type.partition("/")[2].partition("+")[0]
    return {"plain": "txt", "": "png"}.get(ending, ending)


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def _decoded(url: str, what: str) -> tuple[str, bytes]:
    head, _, data = url.removeprefix("data:").partition(",")
    try:
        content = base64.b64decode(data, validate=True) if ";base64" in head.lower() else unquote_to_bytes(data)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{what} is not valid base64", code=_INVALID[what], param="messages") from None
    return head.partition(";")[0], content


_INVALID = {"an image": "invalid_image", "a file": "invalid_file", "audio": "invalid_audio"}

_DOCUMENTS = frozenset(
    {".txt", ".markdown", ".md", ".mdx", ".pdf", ".html", ".htm", ".xlsx", ".xls", ".vtt", ".properties", ".docx"}
    | {".csv", ".doc", ".eml", ".msg", ".pptx", ".ppt", ".epub"}
)
"""What Dify takes for a document, by the end of its name; the last six where its ETL_TYPE is Unstructured."""
