"""Patterns of schemas: which are matched, and that those are matched step by step, as JavaScript would."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.linear_patterns import linear
from tools.pattern_syntax import Assertion, Chars, Choice, Node, Repetition, Sequence, parsed

OF_PUBLIC_SERVERS = {
    "brave search": [r"^\d{4}-\d{2}-\d{2}$", r"^\d{4}-\d{2}-\d{2}to\d{4}-\d{2}-\d{2}$"],
    "figma": [
        r"^[a-zA-Z0-9]+$",
        r"^[a-zA-Z0-9_-]+$",
        r"^[a-zA-Z0-9_.-]+\.(png|svg|gif)$",
        r"^I?\d+[:|-]\d+(?:;\d+[:|-]\d+)*$",
    ],
    "sentry": [r"^[0-9a-fA-F]{32}$", r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"],
    "supabase": [r"\S", r"^(\d+)\.(\d+)$", r"^[A-Za-z][A-Za-z0-9_-]*$"],
    "heroku": [r"^[a-zA-Z-_\.]+"],
    "line": [r"^\d+:\d+$", r"^\d+px$", r"^\d+deg$", r"^#[0-9A-Fa-f]{6}$"],
}
"""What stands in the packages of these servers of MCP, as npm has them. Those of filesystem, github, everything,
playwright, notion, mongodb, kubernetes and airtable have no patterns at all."""

OF_OPENCLAW = [
    "^[a-z][a-z0-9_]*$",
    "^[a-z0-9][a-z0-9._-]{0,63}$",
    "^conv_[a-f0-9]{32}$",
    "^[a-z0-9-]{1,40}$",
    "^[a-z0-9][a-z0-9-]{0,63}:[a-z0-9][a-z0-9._-]{0,63}$",
    "^.*$",
    "^/",
    "^[A-Z][A-Z0-9_]{0,127}$",
    r"^\S(?:.*\S)?$",
    "^[a-z0-9][a-z0-9_-]{0,31}$",
]

OF_ZOD = [
    r"^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})$",
    r"^(?:[A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
    r"^\+[1-9]\d{6,14}$",
    r"^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?$",
    r"^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])\.){3}"
    r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])$",
]
"""What the library of most servers writes into schemas for its own kinds of text."""


@pytest.mark.parametrize(
    "pattern", [*(p for listed in OF_PUBLIC_SERVERS.values() for p in listed), *OF_OPENCLAW, *OF_ZOD]
)
def test_patterns_of_real_tools_are_checked(pattern: str) -> None:
    assert linear(pattern) is not None


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(\w+\s?)+$",
        r"^(x*)*$",
        r"^(x|xx)+$",
        r"^x*x*$",
        r"\d+\d+-",
        r"^.*,.*,.*$",
        r"^(x?){20}x{20}$",
        r"^(a|[a-c]|b)*d",
        r"^((ab)*|(ab)*)c",
        r"^(x{1,500}){1,500}$",
    ],
)
def test_a_pattern_that_reads_a_text_in_several_ways_is_not_checked(pattern: str) -> None:
    assert linear(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    [
        *("(", "[a", "a{3,2}", "*", "a**", "a|*", r"\q", r"\1", r"(.)\1", r"\k<a>", r"\p{Lu}", r"\cA", r"\u{110000}"),
        *("(?=a)", "(?!a)", "(?<=a)b", "(?i)a", "(?#x)", "(?>a)", "a++", "[[:alpha:]]", "[z-a]", r"[\d-z]", "^*", ")"),
        *("x{99999999999}", "(" * 500, "a" * 5000, "[]", "}", "a{,3}"),
    ],
)
def test_what_is_not_known_here_is_not_checked_and_raises_nothing(pattern: str) -> None:
    assert linear(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        (r"^\d$", ["7"], ["٣", "7\n", "77"]),
        (r"^\w+$", ["a_1"], ["é", ""]),
        (r"^\s$", ["\ufeff", "\u00a0", "\n"], ["\x1c", "\u180e"]),
        (r"^.$", ["é", "\u0085"], ["\n", "\u2028", ""]),
        (r"[^]", ["\n"], [""]),
        (r"^\u{1F600}|\x41$", ["\U0001f600", "A"], ["B"]),
        (r"^a{2,3}?$", ["aa", "aaa"], ["a", "aaaa"]),
        (r"\bcat\b", ["a cat!", "écat-s"], ["cats"]),
        (r"^(?<year>\d{4})-[^-\]]\/$", ["2024-x/"], ["2024--/"]),
        (r"^[\b\-a]$", ["\b", "-", "a"], ["b"]),
        (r"\.(md|txt)$", ["a.md", ".txt"], ["a.md5", "md"]),
        ("", ["", "x"], []),
    ],
)
def test_a_pattern_means_what_it_means_in_javascript(pattern: str, fits: list[str], does_not: list[str]) -> None:
    known = linear(pattern)
    assert known is not None
    assert [text for text in fits if not known.matches(text)] == []
    assert [text for text in does_not if known.matches(text)] == []


def patterns() -> st.SearchStrategy[str]:
    part = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", "c"])
    times = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,40}", "{2,}", "*?"])
    return st.recursive(
        part,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map("".join),
            st.lists(inner, min_size=1, max_size=3).map(lambda each: f"({'|'.join(each)})"),
            st.tuples(inner, times).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        ),
        max_leaves=8,
    )


@given(patterns(), st.text("abc", max_size=40), st.booleans())
def test_no_text_takes_many_steps(pattern: str, text: str, at_end: bool) -> None:
    known = linear(f"^{pattern}{'$' if at_end else ''}")
    if known is None:
        return
    tried = _Tried(60 * (1 + len(pattern)) * (2 + len(text)))
    found = next(tried.ends(parsed(f"^{pattern}{'$' if at_end else ''}"), text, 0), None)
    assert (found is not None) == known.matches(text)


class _Tried:
    """Matches a pattern as `re` does, one way after the other, and fails where that takes more steps than allowed."""

    def __init__(self, allowed: int) -> None:
        self._left = allowed

    def ends(self, node: Node, text: str, at: int) -> Iterator[int]:
        self._left -= 1
        assert self._left > 0
        match node:
            case Chars(ranges):
                if at < len(text) and any(low <= ord(text[at]) <= high for low, high in ranges):
                    yield at + 1
            case Assertion(kind):
                if at == (0 if kind == "^" else len(text)):
                    yield at
            case Sequence(parts):
                yield from self._in_turn(parts, text, at)
            case Choice(branches):
                for branch in branches:
                    yield from self.ends(branch, text, at)
            case Repetition(part, least, most):
                yield from self._again(part, least, most, text, at)

    def _in_turn(self, parts: tuple[Node, ...], text: str, at: int) -> Iterator[int]:
        if not parts:
            yield at
            return
        for end in self.ends(parts[0], text, at):
            yield from self._in_turn(parts[1:], text, end)

    def _again(self, part: Node, least: int, most: int | None, text: str, at: int) -> Iterator[int]:
        if most is None or most > 0:
            for end in self.ends(part, text, at):
                if end > at or least > 0:
                    yield from self._again(part, max(0, least - 1), None if most is None else most - 1, text, end)
        if least == 0:
            yield at
