"""Which patterns Python's `re` matches in time that grows with the text as it does, and no faster.

`re` tries one way after the other. It is slow where one text leads to one place of a pattern in several ways, since it
then goes on from there as often: `(a+)+`, `(a|ab?)*`, `a*a*b`. Where no text does that, every place is tried once at
most with every beginning of the text. So a pattern is made an automaton whose states are its characters (Glushkov's),
and is taken where no two different ways through it, on the same text, meet in a state. A count such as {2,40} stands
for any number in it, unless it is small: that makes more ways, never less.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations

from tools.pattern_syntax import (
    Assertion,
    Chars,
    Choice,
    Node,
    Ranges,
    Repetition,
    Sequence,
    UnknownPatternError,
    parsed,
    source,
)

LONGEST_TEXT = 10_000
"""A longer text is not held against a pattern."""

_MOST_STATES = 128
_MOST_PAIRS = 5_000
_WRITTEN_OUT = 24
_CHARACTERS_PER_STEP = 200
_COMPILING = 150


@dataclass(frozen=True, slots=True)
class LinearPattern:
    """A pattern that may be matched, with any place in the text as its beginning unless it says otherwise.

    `longest` is how far a match may reach, None where that is the whole text; `width` how many ways may go on at once.
    """

    compiled: re.Pattern[str]
    anchored: bool
    longest: int | None
    width: int

    def steps(self, text: str) -> int:
        """Return what matching a text costs, in steps of about 5 µs."""
        reach = len(text) if self.longest is None else min(len(text), self.longest)
        tried = len(text) if self.anchored else len(text) * max(1, reach)
        return 1 + tried * self.width // _CHARACTERS_PER_STEP

    def matches(self, text: str) -> bool:
        """Say whether the pattern is found in the text."""
        return self.compiled.search(text) is not None


@lru_cache(maxsize=512)
def linear(pattern: str) -> LinearPattern | None:
    """Return the pattern, or None where it may be slow or is not known to mean the same here as in JavaScript."""
    try:
        tree = parsed(pattern)
        automaton = _Automaton()
        ends = automaton.add(tree)
        automaton.check(ends.first)
        compiled = re.compile(source(tree))
    except (UnknownPatternError, re.error, RecursionError, OverflowError):
        return None
    return LinearPattern(compiled, _is_anchored(tree), _longest(tree), automaton.width(ends.first))


def compiling_steps(pattern: str) -> int:
    """Return what it costs to judge a pattern for the first time, in the steps of LinearPattern."""
    return _COMPILING + 4 * len(pattern)


@dataclass(frozen=True, slots=True)
class _Ends:
    """The states in which a part may begin and end, and whether it may be empty."""

    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()
    empty: bool = True


@dataclass(slots=True)
class _Automaton:
    _ranges: list[Ranges] = field(default_factory=list)
    _after: list[dict[int, None]] = field(default_factory=list)

    def add(self, node: Node) -> _Ends:
        match node:
            case Assertion():
                return _Ends()
            case Chars(ranges):
                return self._state(ranges)
            case Sequence(parts):
                whole = _Ends()
                for part in parts:
                    whole = self._joined(whole, self.add(part))
                return whole
            case Choice(branches):
                return self._choice(branches)
            case Repetition():
                return self._repetition(node)

    def _state(self, ranges: Ranges) -> _Ends:
        if not ranges or len(self._ranges) >= _MOST_STATES:
            raise UnknownPatternError
        self._ranges.append(ranges)
        self._after.append({})
        states = (len(self._ranges) - 1,)
        return _Ends(states, states, empty=False)

    def _joined(self, one: _Ends, other: _Ends) -> _Ends:
        self._link(one.last, other.first)
        first = (*one.first, *other.first) if one.empty else one.first
        last = (*one.last, *other.last) if other.empty else other.last
        return _Ends(first, last, one.empty and other.empty)

    def _link(self, ends: tuple[int, ...], begins: tuple[int, ...]) -> None:
        for end in ends:
            for begin in begins:
                # A step that two parts of the pattern make is two ways to the same state.
                if begin in self._after[end]:
                    raise UnknownPatternError
                self._after[end][begin] = None

    def _choice(self, branches: tuple[Node, ...]) -> _Ends:
        ends = [self.add(branch) for branch in branches]
        if sum(end.empty for end in ends) > 1:
            raise UnknownPatternError
        first = tuple(state for end in ends for state in end.first)
        last = tuple(state for end in ends for state in end.last)
        return _Ends(first, last, any(end.empty for end in ends))

    def _repetition(self, node: Repetition) -> _Ends:
        if node.most == 0:
            return _Ends()
        if node.most is not None and node.most <= _WRITTEN_OUT:
            return self._written_out(node, node.most)
        ends = self.add(node.part)
        if ends.empty:
            raise UnknownPatternError
        self._link(ends.last, ends.first)
        return _Ends(ends.first, ends.last, node.least == 0)

    def _written_out(self, node: Repetition, most: int) -> _Ends:
        """Return `x{2,4}` as `xx(x(x)?)?`."""
        whole = _Ends()
        for time in reversed(range(most)):
            whole = self._joined(self.add(node.part), whole)
            if time >= node.least:
                if whole.empty:
                    raise UnknownPatternError
                whole = _Ends(whole.first, whole.last)
        return whole

    def width(self, first: tuple[int, ...]) -> int:
        return max(1, len(first), *map(len, self._after))

    def check(self, first: tuple[int, ...]) -> None:
        """Raise UnknownPatternError where two ways through the automaton meet."""
        masks = _masks(self._ranges)
        followers = {tuple(after) for after in self._after}
        waiting = [
            pair
            for states in {first, *followers}
            for pair in combinations(sorted(states), 2)
            if masks[pair[0]] & masks[pair[1]]
        ]
        seen = set(waiting)
        compared = 0
        while waiting:
            one, other = waiting.pop()
            compared += len(self._after[one]) * len(self._after[other])
            if compared > _MOST_PAIRS:
                raise UnknownPatternError
            for a in self._after[one]:
                for b in self._after[other]:
                    if not masks[a] & masks[b]:
                        continue
                    if a == b:
                        raise UnknownPatternError
                    pair = (a, b) if a < b else (b, a)
                    if pair not in seen:
                        seen.add(pair)
                        waiting.append(pair)


def _masks(sets: list[Ranges]) -> list[int]:
    """Return each set as bits, one for each stretch of characters that no set cuts."""
    cuts = sorted({edge for ranges in sets for low, high in ranges for edge in (low, high + 1)})
    bit = {cut: number for number, cut in enumerate(cuts)}
    return [sum((1 << bit[high + 1]) - (1 << bit[low]) for low, high in ranges) for ranges in sets]


def _is_anchored(node: Node) -> bool:
    match node:
        case Assertion(kind):
            return kind == "^"
        case Sequence(parts):
            return bool(parts) and _is_anchored(parts[0])
        case Choice(branches):
            return all(map(_is_anchored, branches))
        case Repetition(part, least):
            return least > 0 and _is_anchored(part)
    return False


def _longest(node: Node) -> int | None:
    """Return how many characters the part may have, None where there is no end."""
    match node:
        case Chars():
            return 1
        case Assertion():
            return 0
        case Sequence(parts) | Choice(parts):
            sizes = [_longest(part) for part in parts]
            known = [size for size in sizes if size is not None]
            if len(known) < len(sizes):
                return None
            return sum(known) if isinstance(node, Sequence) else max(known)
        case Repetition(part, _, most):
            size = _longest(part)
            return None if size is None or most is None else size * most
