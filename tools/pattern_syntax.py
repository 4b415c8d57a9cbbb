"""Reads the patterns of JSON schemas: JavaScript's regular expressions, as far as Python's mean the same.

`parsed` makes a tree of a pattern, and `source` writes the tree as Python's `re` has to see it: a digit, a word's
character, white space, a dot and an end are not the same in the two. What only one of them knows is refused, and what
cannot be judged by its tree: lookaround, references, flags, classes of Unicode. Source: ECMA-262, patterns; JSON Schema
validation, `pattern`.
"""

import re
from dataclasses import dataclass

LONGEST = 1000
_DEEPEST = 20
_MOST_TIMES = 10_000
_LAST = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]

_DIGITS: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Ranges = (
    (0x09, 0x0D),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
)
_LINE_ENDS: Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
_CONTROLS = {"n": 0x0A, "r": 0x0D, "t": 0x09, "f": 0x0C, "v": 0x0B}
_PUNCTUATION = set("^$\\.*+?()[]{}|/-!\"#%&',:;<=>@_`~ ")
_TIMES = re.compile(r"\{(\d{1,9})(,(\d{1,9})?)?\}")
_HEX = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}")
_GROUP = re.compile(r"\?(?::|P?<[A-Za-z_]\w*>)")


class UnknownPatternError(Exception):
    """This pattern cannot be judged."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of some."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Assertion:
    """A place in the text: `^`, `$`, `b` or `B`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One part after the other; without parts, nothing."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several."""

    branches: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repetition:
    """A part again and again, `most` times at most where that is given."""

    part: "Node"
    least: int
    most: int | None
    lazy: bool = False


Node = Chars | Assertion | Sequence | Choice | Repetition


def parsed(pattern: str) -> Node:
    """Return the pattern's tree. Raises UnknownPatternError."""
    if len(pattern) > LONGEST:
        raise UnknownPatternError
    reader = _Reader(pattern)
    tree = reader.choice(0)
    if reader.at < len(pattern):
        raise UnknownPatternError
    return tree


def source(node: Node) -> str:
    """Return what Python's `re` compiles."""
    match node:
        case Chars(ranges):
            return _class_of(ranges)
        case Assertion(kind):
            return {"^": r"\A", "$": r"\Z", "b": r"(?a:\b)", "B": r"(?a:\B)"}[kind]
        case Sequence(parts):
            return "".join(map(source, parts))
        case Choice(branches):
            return f"(?:{'|'.join(map(source, branches))})"
        case Repetition(part, least, most, lazy):
            return f"(?:{source(part)}){{{least},{'' if most is None else most}}}{'?' if lazy else ''}"


def _class_of(ranges: Ranges) -> str:
    # Python compiles the class of what is not meant much faster where that is less.
    negated = bool(ranges) and ranges[-1][1] == _LAST
    written = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in (_others(ranges) if negated else ranges))
    return f"[{'^' if negated else ''}{written}]" if written else r"[\s\S]" if negated else "(?!)"


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.at = 0

    def _takes(self, text: str) -> bool:
        if not self._pattern.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def _next(self) -> str:
        if self.at >= len(self._pattern):
            raise UnknownPatternError
        self.at += 1
        return self._pattern[self.at - 1]

    def choice(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise UnknownPatternError
        branches = [self._sequence(depth)]
        while self._takes("|"):
            branches.append(self._sequence(depth))
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _sequence(self, depth: int) -> Node:
        parts = []
        while self.at < len(self._pattern) and self._pattern[self.at] not in "|)":
            parts.append(self._repeated(self._part(depth)))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _part(self, depth: int) -> Node:
        match character := self._next():
            case "^" | "$":
                return Assertion(character)
            case "(":
                return self._group(depth)
            case "[":
                return Chars(self._class())
            case ".":
                return Chars(_others(_LINE_ENDS))
            case "\\":
                return self._escape()
            case "*" | "+" | "?" | "{" | "}" | "]":
                raise UnknownPatternError
        return _only(ord(character))

    def _group(self, depth: int) -> Node:
        if found := _GROUP.match(self._pattern, self.at):
            self.at = found.end()
        inner = self.choice(depth + 1) if not self._pattern.startswith("?", self.at) else None
        if inner is None or not self._takes(")"):
            raise UnknownPatternError
        return inner

    def _repeated(self, part: Node) -> Node:
        least: int
        most: int | None
        if self._takes("*"):
            least, most = 0, None
        elif self._takes("+"):
            least, most = 1, None
        elif self._takes("?"):
            least, most = 0, 1
        elif found := _TIMES.match(self._pattern, self.at):
            self.at = found.end()
            least = int(found[1])
            most = least if not found[2] else int(found[3]) if found[3] else None
        else:
            return part
        if isinstance(part, Assertion) or max(least, most or 0) > _MOST_TIMES or (most is not None and most < least):
            raise UnknownPatternError
        return Repetition(part, least, most, lazy=self._takes("?"))

    def _escape(self) -> Node:
        if self._takes("b"):
            return Assertion("b")
        if self._takes("B"):
            return Assertion("B")
        return Chars(self._escaped_chars())

    def _escaped_chars(self) -> Ranges:
        if found := _HEX.match(self._pattern, self.at):
            self.at = found.end()
            code = int(found[1] or found[2] or found[3], 16)
            if code > _LAST:
                raise UnknownPatternError
            return ((code, code),)
        character = self._next()
        known = {"d": _DIGITS, "w": _WORD, "s": _SPACE}.get(character.lower())
        if known:
            return known if character.islower() else _others(known)
        if character in _CONTROLS:
            code = _CONTROLS[character]
        elif character in _PUNCTUATION:
            code = ord(character)
        else:
            raise UnknownPatternError
        return ((code, code),)

    def _class(self) -> Ranges:
        negated = self._takes("^")
        found: list[tuple[int, int]] = []
        while not self._takes("]"):
            if self._pattern.startswith(("[:", "&&", "--"), self.at):
                raise UnknownPatternError
            low = self._member()
            if self._pattern.startswith("-", self.at) and not self._pattern.startswith("-]", self.at):
                self.at += 1
                high = self._member()
                if not (_is_one(low) and _is_one(high)) or high[0][0] < low[0][0]:
                    raise UnknownPatternError
                low = ((low[0][0], high[0][0]),)
            found.extend(low)
        ranges = _united(found)
        return _others(ranges) if negated else ranges

    def _member(self) -> Ranges:
        character = self._next()
        if character != "\\":
            return ((ord(character), ord(character)),)
        return ((0x08, 0x08),) if self._takes("b") else self._escaped_chars()


def _only(code: int) -> Chars:
    return Chars(((code, code),))


def _is_one(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]


def _united(ranges: list[tuple[int, int]]) -> Ranges:
    united: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if united and low <= united[-1][1] + 1:
            united[-1] = united[-1][0], max(high, united[-1][1])
        else:
            united.append((low, high))
    return tuple(united)


def _others(ranges: Ranges) -> Ranges:
    others, begin = [], 0
    for low, high in ranges:
        if begin < low:
            others.append((begin, low - 1))
        begin = high + 1
    if begin <= _LAST:
        others.append((begin, _LAST))
    return tuple(others)
