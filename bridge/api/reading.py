"""How the JSON of a body is read. What stands in the lists of a long one is read, and checked, once.

Clients send all that was said again with each request.
"""

import json
import math
import re
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any
from weakref import ref

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from bridge.runs.services import Breath, in_pieces
from tools.json_depth import DEEPEST
from tools.surrogates import whole

SHORT = 16 * 1024
"""How many characters are read in one go."""

_REMEMBERED = 16 * 2**20
"""So many characters of items, newer and older ones, are remembered, and of lists of them."""
_LONGEST = _REMEMBERED // 8
_AROUND = 1024
"""So many count for each message, part and call beside its text."""
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
    return read_text(decoded(raw)[0])


def decoded(raw: bytes) -> tuple[str, bool]:
    """Return the text, and whether there may be half of a surrogate pair in it: as an escape, or encoded itself."""
    encoding = json.detect_encoding(raw)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode(encoding, "surrogatepass"), True
    return text, "\\ud" in text or "\\uD" in text


def fault_in(error: ValueError | RecursionError) -> str:
    """Return what is wrong with a text of JSON, also where Python speaks of its own limits."""
    if isinstance(error, RecursionError):
        return f"it is nested deeper than {DEEPEST} levels"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not {error.encoding} at byte {error.start}"
    return "a number has too many digits" if "set_int_max_str_digits" in str(error) else str(error)


def read_text(text: str) -> Any:
    """Return what a text of JSON says. Raises ValueError and RecursionError as `loads` does."""
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
        self.depth = depth_of(value)
        self.pieces = pieces_in(value)
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
        return len(self.text) + _AROUND * self.pieces

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
        self._size += len(text) + _AROUND * item.pieces
        if self._size > _REMEMBERED // 2:
            self._older, self._newer, self._size = self._newer, {}, 0

    def keep(self, items: Items) -> None:
        """Remember a list for as long as others are not longer together."""
        if items.size > _REMEMBERED // 2:
            return
        self._lists[id(items)] = items
        self._listed += items.size
        while self._lists and self._listed > _REMEMBERED:
            _, forgotten = self._lists.popitem(last=False)
            self._listed -= forgotten.size

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


def checked_once[Model](kinds: type, lasting: Callable[[Model], object]) -> WrapValidator:
    """Return what has a field's list checked by `each_once`."""

    def check_each(items: Any, check: ValidatorFunctionWrapHandler) -> list[Any]:
        return each_once(items, check, kinds, lasting)

    return WrapValidator(check_each)


_PARTS = ("content", "tool_calls", "output")


def pieces_in(message: Any) -> int:
    """Count a message, or item; one of several parts or calls counts as often as it has any."""
    if isinstance(message, Item):
        return message.pieces
    return max(1, sum(count_of(message.get(field)) for field in _PARTS)) if isinstance(message, dict) else 1


def count_of(value: Any) -> int:
    """Return the length of a list, 0 of all else."""
    return len(value) if isinstance(value, list) else 0


_NESTS = (dict, list)
_KNOWN = (Item, Items)


def depth_of(body: object) -> int:
    """Return how many levels a value has; one more than the most that are allowed, where it has more than these."""
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


def whole_body(body: dict[str, Any]) -> dict[str, Any]:
    """Return `body` without halves of surrogate pairs."""
    return {whole(name): _whole_value(value) for name, value in body.items()}


def _whole_value(value: object) -> object:
    if isinstance(value, _KNOWN):
        return value
    return [_whole_value(item) for item in in_pieces(value)] if isinstance(value, list) else whole(value)
