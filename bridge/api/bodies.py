"""How a body is taken (unpacked and within limits), checked against its model, and how one is written."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flask import Request, Response, g
from flask import request as current
from pydantic import BaseModel, ValidationError
from zstandard import ZstdDecompressor, ZstdError

from bridge.api.reading import Items, count_of, decoded, depth_of, fault_in, pieces_in, read_text, whole_body
from bridge.config import Limits
from bridge.errors import InvalidRequest, TooLarge, UnsupportedEncoding
from bridge.runs.services import Breath, breathe, in_pieces
from tools.json_depth import DEEPEST


def checked[Model: BaseModel](model: type[Model], body: object) -> Model:
    """Return `body` as a `model`; a number is no text here, and a text no number.

    Raises InvalidRequest whose `param` is the path of the first field that is wrong.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    return _checked(model, body, strict=True)


def checked_query[Model: BaseModel](model: type[Model], query: Mapping[str, str]) -> Model:
    """Return a query as a `model`. Raises InvalidRequest whose `param` is the first parameter that is wrong."""
    return _checked(model, dict(query), strict=False)


_SHORT_BYTES = 16_384
"""So much is read, checked and told apart within a millisecond."""


def breathe_if_long() -> None:
    """Let whoever else has something to do go on, where the request at hand takes long."""
    length = current.content_length if current else None
    if length is None or length > _SHORT_BYTES:
        breathe()


def _checked[Model: BaseModel](model: type[Model], values: dict[str, Any], *, strict: bool) -> Model:
    breathe_if_long()
    try:
        return model.model_validate(values, strict=strict)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        param = path_of(problem["loc"], problem["type"], values)
        message = problem["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"{param}: {message}" if param else message, param=param or None) from None


def path_of(location: Sequence[str | int], kind: str, body: Any) -> str:
    """Return a field's path as OpenAI writes it, `messages[0].content`.

    Pydantic's location also names the branches of unions; what does not lead further into `body` is such a name.
    """
    path, value = "", body
    for position, step in enumerate(location):
        missing = kind == "missing" and position == len(location) - 1
        if isinstance(step, int) and isinstance(value, list) and step < len(value):
            path, value = f"{path}[{step}]", value[step]
        elif isinstance(step, str) and isinstance(value, Mapping) and (step in value or missing):
            path, value = f"{path}.{step}" if path else step, value.get(step)
    if kind.startswith("union_tag_") and isinstance(value, Mapping):
        # The unions that say themselves which kinds there are all go by the type.
        by_role = kind != "union_tag_unknown" and ("role" in value or "type" not in value)
        tag = "role" if by_role else "type"
        path = f"{path}.{tag}" if path else tag
    return path


def check_sizes(body: Mapping[str, Any], limits: Limits) -> None:
    """Raise InvalidRequest where the body holds more than the limits allow."""
    for field in ("messages", "input", "tool_results"):
        check_messages(_messages_in(body.get(field)), limits, field)
    for field in ("tools", "functions"):
        check_tools(count_of(body.get(field)), limits, field)
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        check_tools(count_of(choice.get("tools")), limits, "tool_choice.tools")
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict):
            check_tools(count_of(allowed.get("tools")), limits, "tool_choice.allowed_tools.tools")


def check_messages(count: int, limits: Limits, field: str) -> None:
    """Raise InvalidRequest where there are too many messages in the field."""
    if count > limits.messages:
        raise InvalidRequest(
            f"{field}: there are {count} messages, parts and calls, and at most {limits.messages} are allowed "
            "(limits.messages): send fewer, for example a summary of the earlier ones",
            code="too_many_messages",
            param=field,
        )


def check_tools(count: int, limits: Limits, field: str) -> None:
    """Raise InvalidRequest where there are too many tools in the field."""
    if count > limits.tools:
        raise InvalidRequest(
            f"{field}: there are {count} tools, and at most {limits.tools} are allowed (limits.tools): offer fewer",
            code="too_many_tools",
            param=field,
        )


def _messages_in(messages: Any) -> int:
    """Count messages, or items; one of several parts or calls counts as often as it has any."""
    if isinstance(messages, Items):
        return messages.pieces
    return sum(map(pieces_in, in_pieces(messages))) if isinstance(messages, list) else 0


def json_body(request: Request, limit: int) -> dict[str, Any]:
    """Return the body's object. Raises TooLarge, UnsupportedEncoding or InvalidRequest.

    Half of a surrogate pair, which clients leave behind when they cut a text amid an emoji, becomes U+FFFD: JSON can
    name it, and no text can hold it. What was read is `g.json_body` from then on: a body can be read only once.
    """
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"the body is larger than {limit} bytes (limits.request_bytes)")
    raw = request.stream.read(limit + 1)
    if len(raw) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes (limits.request_bytes)")
    raw = unpacked(raw, request.headers.get("Content-Encoding", ""), limit)
    is_long = len(raw) > _SHORT_BYTES
    if is_long:
        breathe()
    try:
        text, may_be_cut = decoded(raw)
        body = read_text(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {fault_in(error)}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    if depth_of(body) > DEEPEST:
        raise InvalidRequest(f"the body is nested deeper than {DEEPEST} levels", code="invalid_json")
    read: dict[str, Any] = whole_body(body) if may_be_cut else body
    g.json_body = read
    if is_long:
        breathe()
    return read


def json_answer(model: BaseModel, status: int = 200) -> Response:
    """Return the model as a response."""
    return Response(model.model_dump_json(), status=status, content_type="application/json")


TAKEN = ("gzip", "deflate", "zstd")
MOST_MEMBERS = 1000
"""A body may be put together of so many that were packed each."""
_PIECE = 1024
"""How much is unpacked in one go: a thousand bytes of zstd may hold some thirty millions."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def unpacked(raw: bytes, encodings: str, limit: int) -> bytes:
    """Return a body without its Content-Encoding. Raises UnsupportedEncoding, InvalidRequest and TooLarge."""
    for encoding in reversed([name.strip().lower() for name in encodings.split(",") if name.strip()]):
        if encoding == "identity":
            continue
        if encoding.removeprefix("x-") not in TAKEN:
            raise UnsupportedEncoding(
                f"Content-Encoding {encoding[:40]} is not supported; send the body without, or as {', '.join(TAKEN)}"
            )
        try:
            raw = _unpacked(raw, encoding.removeprefix("x-"), limit)
        except (zlib.error, ZstdError, EOFError):
            raise InvalidRequest(
                f"the body does not match its Content-Encoding {encoding}, or it is incomplete",
                code="invalid_encoding",
            ) from None
    return raw


def _unpacked(raw: bytes, encoding: str, limit: int) -> bytes:
    read, at, members, breath = bytearray(), 0, 0, Breath()
    # Several may stand behind each other, as in files that were put together.
    while at < len(raw):
        members += 1
        if members > MOST_MEMBERS:
            raise TooLarge(f"the body is in more than {MOST_MEMBERS} compressed parts: send it in one")
        unpacker = _unpacker(encoding, raw[at])
        while not unpacker.eof:
            if at == len(raw):
                raise EOFError
            piece = raw[at : at + _PIECE]
            read += unpacker.decompress(piece)
            at += len(piece) - len(unpacker.unused_data)
            if len(read) > limit:
                raise TooLarge(f"the unpacked body is larger than {limit} bytes (limits.request_bytes)")
            breath.take()
    return bytes(read)


def _unpacker(encoding: str, first: int) -> _Unpacker:
    if encoding == "zstd":
        return ZstdDecompressor(max_window_size=2**27).decompressobj()
    # Some send deflate without zlib's head, whatever the standard says.
    bare = encoding == "deflate" and first & 0x0F != zlib.DEFLATED
    return zlib.decompressobj(31 if encoding == "gzip" else -15 if bare else 15)
