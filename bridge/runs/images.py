"""The images of a turn as files of Dify's, for apps that take images themselves."""

import base64
import binascii
from typing import Any

from bridge.dify import DifyClient
from bridge.dify.apps import ImageRules
from bridge.errors import InvalidRequest, TooLarge
from bridge.runs.requests import RunRequest


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
