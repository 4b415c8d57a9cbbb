"""How a body is read (unpacked, in pieces and within limits), checked against its model, and how one is written."""

import json
import math
import re
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol
from weakref import ref

from flask import Request, Response, g
from flask import request as current
from pydantic import BaseModel, ValidationError
from zstandard import ZstdDecompressor, ZstdError

from bridge.config import Limits
from bridge.errors import InvalidRequest, TooLarge, UnsupportedEncoding
from bridge.runs.services import Breath, breathe, in_pieces
from tools.json_depth import DEEPEST
from tools.surrogates import whole

SHORT = 16 * 1024
"""How many characters are read in one go."""

_REMEMBERED = 16 * 2**20
"""So many characters of items, newer and older ones, are remembered, and of lists of them."""
_LONGEST = _REMEMBERED // 8
_AROUND = 1024
"""So many count for each item beside its text."""
_COMPARED = 64
"""So many are compared first."""

_SPACES = " \t\n\r"
_SPACE = re.compile(r"[ \t\n\r]*")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is larger than a number can be")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_number)


def loads(raw: bytes) -> Any:
    """Return what `json.loads` returns. Raises ValueError and RecursionError as it does.

    Also raises ValueError for NaN and Infinity, and for a number that becomes one: no other reader of JSON takes those.
    """
    return _loads(_decoded(raw)[0])


def _decoded(raw: bytes) -> tuple[str, bool]:
    """Return the text, and whether there may be half of a surrogate pair in it: as an escape, or encoded itself."""
    encoding = json.detect_encoding(raw)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode(encoding, "surrogatepass"), True
    return text, "\\ud" in text or "\\uD" in text


def _loads(text: str) -> Any:
    if len(text) <= SHORT or not text.lstrip(" \t\n\r").startswith("{"):
        return _DECODER.decode(text)
    return _Reader(text).whole()


class Item(dict[str, Any]):
    """An object in a list of a long body, which nobody changes: the same text is the same item while it is remembered.

    `depth` is how many levels it has, `pieces` as how many messages it counts, and `known` what it was checked to be.
    `place` is the last list in which it was read, and where it stands there.
    """

    __slots__ = ("__weakref__", "depth", "known", "pieces", "place")

    def __init__(self, value: dict[str, Any]) -> None:
        super().__init__(whole(value))
        self.depth = _depth(value)
        self.pieces = _pieces_of(value)
        self.known: object = None
        self.place: tuple[Callable[[], Items | None], int] = (_no_items, 0)


def _no_items() -> None:
    return None


class Items(list[Item]):
    """A list of a long body in which there are items alone; `text` is what stands in it, and `ends` where each ends."""

    __slots__ = ("__weakref__", "ends", "text")

    def __init__(self, items: Iterable[Item], text: str, ends: "array[int]") -> None:
        super().__init__(items)
        self.text = text
        self.ends = ends

    @property
    def depth(self) -> int:
        """How many levels it has."""
        return 1 + max(map(attrgetter("depth"), self), default=0)

    @property
    def pieces(self) -> int:
        """As how many messages the items count."""
        return sum(map(attrgetter("pieces"), self))

    @property
    def size(self) -> int:
        """How many characters it counts for."""
        return len(self.text) + _AROUND * len(self)

    def alike(self, place: int, text: str, at: int) -> int:
        """Return up to which place a text has the same items as here, behind the one at `place`, which ends at `at`."""
        begin, step = self.ends[place], _COMPARED
        following = self.ends[place + 1] if place + 1 < len(self) else begin
        if not text.startswith(self.text[begin : min(following, begin + step)], at):
            return place
        # What is compared in vain is never longer than what was the same, so that all of it takes as long as reading.
        while begin < len(self.text) and text.startswith(same := self.text[begin : begin + step], at):
            begin, at, step = begin + len(same), at + len(same), 2 * step

        def differs(place: int) -> bool:
            return not text.startswith(self.text[begin : self.ends[place]], at)

        first = bisect_right(self.ends, begin)
        return bisect_left(range(bisect_right(self.ends, begin + step)), True, first, key=differs) - 1


class _Remembered:
    """What was read last: clients send all that was said again with each request."""

    def __init__(self) -> None:
        self._newer: dict[str, Item] = {}
        self._older: dict[str, Item] = {}
        self._size = 0
        self._lists: OrderedDict[int, Items] = OrderedDict()
        self._listed = 0

    def item(self, text: str, value: dict[str, Any]) -> Item:
        """Return the item of this text, which says `value`."""
        item = self._newer.get(text)
        if item is None:
            item = self._older.get(text) or Item(value)
            if len(text) <= _LONGEST:
                self._remember(text, item)
        return item

    def _remember(self, text: str, item: Item) -> None:
        self._newer[text] = item
        self._size += len(text) + _AROUND
        if self._size > _REMEMBERED // 2:
            self._older, self._newer, self._size = self._newer, {}, 0

    def keep(self, items: Items) -> None:
        """Remember a list for as long as others are not longer together."""
        if items.size > _REMEMBERED // 2:
            return
        self._lists[id(items)] = items
        self._listed += items.size
        while self._listed > _REMEMBERED:
            self._listed -= self._lists.popitem(last=False)[1].size

    def let_go(self, items: Items) -> None:
        """Another list took the place of this one."""
        if self._lists.pop(id(items), None) is not None:
            self._listed -= items.size


_ITEMS = _Remembered()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._breath = Breath()

    def whole(self) -> dict[str, Any]:
        value = self._object()
        if self._next():
            raise self._error("Extra data")
        return value

    def _object(self) -> dict[str, Any]:
        read: dict[str, Any] = {}
        self._take("{")
        while not (self._next() == "}" and not read):
            if self._next() != '"':
                raise self._error("Expecting property name enclosed in double quotes")
            name = self._value()
            self._take(":")
            read[name] = self._list() if self._next() == "[" else self._value()
            if self._next() != ",":
                break
            self._at += 1
        self._take("}")
        return read

    def _list(self) -> list[Any]:
        read: list[Any] = []
        fresh: list[int] = []
        ends = array("Q")
        self._take("[")
        begin = self._at
        while not (self._next() == "]" and not read):
            fresh.append(len(read))
            read.append(self._item() if self._next() == "{" else self._value())
            ends.append(self._at - begin)
            if isinstance(read[-1], Item) and (had := read[-1].place[0]()) is not None:
                self._go_on(had, read, ends)
                self._at = begin + ends[-1]
            if self._next() != ",":
                break
            self._at += 1
        self._take("]")
        if set(map(type, read)) != {Item}:
            return read
        items = Items(read, self._text[begin : begin + ends[-1]], ends)
        # The first place counts, where an item has several.
        for place in reversed(fresh):
            items[place].place = (ref(items), place)
        _ITEMS.keep(items)
        return items

    def _go_on(self, had: Items, read: list[Any], ends: "array[int]") -> None:
        """Read on as far as items stand behind the last one as they did when that was read before."""
        place = read[-1].place[1]
        last = had.alike(place, self._text, self._at)
        read += had[place + 1 : last + 1]
        moved = ends[-1] - had.ends[place]
        known = had.ends[place + 1 : last + 1]
        ends.extend(array("Q", [end + moved for end in known]) if moved else known)
        if 2 * (last - place) > len(had):
            _ITEMS.let_go(had)

    def _item(self) -> Item:
        begin, value = self._at, self._value()
        return _ITEMS.item(self._text[begin : self._at], value)

    def _value(self) -> Any:
        value, self._at = _DECODER.raw_decode(self._text, self._at)
        self._breath.take()
        return value

    def _next(self) -> str:
        if (character := self._text[self._at : self._at + 1]) not in _SPACES:
            return character
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> None:
        if self._next() != character:
            raise self._error(f"Expecting '{character}'")
        self._at += 1

    def _error(self, message: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, self._at)


def each_once[Model, Known](
    items: Any, check: Callable[[Any], list[Model]], kinds: type | tuple[type, ...], lasting: Callable[[Model], Known]
) -> list[Model] | list[Known]:
    """Check what stands in a list; each that comes again once, and from then on it is what `lasting` makes of it.

    That is one of these kinds. Raises ValidationError.
    """
    if not isinstance(items, Items):
        return check(items)
    new = [item for item in items if not isinstance(item.known, kinds)]
    try:
        for item, model in zip(new, check(new) if new else (), strict=True):
            item.known = lasting(model)
    except ValidationError:
        # Among all of them it says where it is wrong.
        check(items)
        raise
    return list(map(attrgetter("known"), items))


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
        tag = "role" if "role" in value or "type" not in value else "type"
        path = f"{path}.{tag}" if path else tag
    return path


_PARTS = ("content", "tool_calls", "output")


def check_sizes(body: Mapping[str, Any], limits: Limits) -> None:
    """Raise InvalidRequest where the body holds more than the limits allow."""
    for field in ("messages", "input", "tool_results"):
        check_messages(_messages_in(body.get(field)), limits, field)
    for field in ("tools", "functions"):
        check_tools(_count(body.get(field)), limits, field)
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        check_tools(_count(choice.get("tools")), limits, "tool_choice.tools")
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict):
            check_tools(_count(allowed.get("tools")), limits, "tool_choice.allowed_tools.tools")


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
    return sum(map(_pieces_of, in_pieces(messages))) if isinstance(messages, list) else 0


def _pieces_of(message: Any) -> int:
    if isinstance(message, Item):
        return message.pieces
    return max(1, sum(_count(message.get(field)) for field in _PARTS)) if isinstance(message, dict) else 1


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


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
        text, may_be_cut = _decoded(raw)
        body = _loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    if _depth(body) > DEEPEST:
        raise InvalidRequest(f"the body is nested deeper than {DEEPEST} levels", code="invalid_json")
    read: dict[str, Any] = _whole(body) if may_be_cut else body
    g.json_body = read
    if is_long:
        breathe()
    return read


_NESTS = (dict, list)
_KNOWN = (Item, Items)


def _depth(body: object) -> int:
    level, depth, known = [body], 0, 0
    while level and depth <= DEEPEST:
        depth += 1
        inner = (child for value in level for child in _children(value))
        children = [child for child in in_pieces(inner) if isinstance(child, _NESTS)]
        known = max([known, *(depth + child.depth for child in children if isinstance(child, _KNOWN))])
        level = [child for child in children if not isinstance(child, _KNOWN)]
    return max(depth, known)


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    """Return `body` without halves of surrogate pairs."""
    return {whole(name): _whole_value(value) for name, value in body.items()}


def _whole_value(value: object) -> object:
    if isinstance(value, _KNOWN):
        return value
    return [_whole_value(item) for item in in_pieces(value)] if isinstance(value, list) else whole(value)


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
