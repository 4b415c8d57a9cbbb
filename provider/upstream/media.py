"""Images, sound, films and documents in a message, as an upstream wants them.

OpenAI's own parts are what `prompt` writes. Two vendors differ: DashScope takes sound as a URL in `input_audio`
(https://help.aliyun.com/zh/model-studio/qwen-omni), Zhipu documents as `file_url`
(https://docs.bigmodel.cn/api-reference).
"""

from collections.abc import Mapping
from typing import Any

from provider.upstream.vendors import Vendor


def for_vendor(part: Mapping[str, Any], vendor: Vendor) -> dict[str, Any]:
    """Return one part of a message's content."""
    match part.get("type"):
        case "input_audio" if vendor.audio_as_url:
            sound = part["input_audio"]
            return {"type": "input_audio", "input_audio": sound | {"data": f"data:;base64,{sound['data']}"}}
        case "audio_url" if vendor.audio_as_url:
            return {"type": "input_audio", "input_audio": {"data": part["audio_url"]["url"]}}
        case "file" if vendor.document_as_url:
            return {"type": "file_url", "file_url": {"url": part["file"]["file_data"]}}
        case _:
            return dict(part)
