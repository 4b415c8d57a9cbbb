"""What an app is started with: the values for its Start node, and the images of the turn as files of Dify's.

For each variable the later one counts: `inputs` of the configuration, what `input_map` takes from the conversation,
the request's `metadata`, and the request's own `inputs`.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.config import App, Source
from bridge.dify import DifyClient, InputField
from bridge.dify.apps import AppFacts, ImageRules
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


def files_of(client: DifyClient, rules: ImageRules | None, request: RunRequest, user: str) -> list[dict[str, str]]:
    """Return what of the user's images the app takes, uploaded where it is no URL. Raises BridgeError and DifyError."""
    if rules is None or request.turn is None:
        return []
    content = request.messages[request.turn].get("content")
    parts = [part for part in content if part.get("type") == "image_url"] if isinstance(content, list) else []
    files = [_file(client, rules, str(part["image_url"]["url"]), user) for part in parts[: rules.count]]
    return [file for file in files if file]


def _file(client: DifyClient, rules: ImageRules, url: str, user: str) -> dict[str, str]:
    taken: dict[str, Any] = {"type": "image"}
    if not url.startswith("data:"):
        return taken | {"transfer_method": "remote_url", "url": url} if rules.urls else {}
    if not rules.uploads:
        return {}
    kind, image = _decoded(url)
    if len(image) > rules.most_bytes:
        raise TooLarge(
            f"an image has {len(image)} bytes, and the app's Dify takes {rules.most_bytes} "
            "(UPLOAD_IMAGE_FILE_SIZE_LIMIT); send a smaller one",
            param="messages",
        )
    name = f"image.{kind.partition('/')[2].partition('+')[0] or 'png'}"
    return taken | {"transfer_method": "local_file", "upload_file_id": client.upload(name, image, kind, user)}


def _decoded(url: str) -> tuple[str, bytes]:
    head, _, data = url.removeprefix("data:").partition(",")
    try:
        return head.partition(";")[0], base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("an image is not valid base64", code="invalid_image", param="messages") from None
