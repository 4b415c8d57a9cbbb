"""What may begin a call, compiled from the table of formats."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from tools.openclaw_text import formats
from tools.openclaw_text.patterns import Name, OneOf, Pattern, Run, any_of, begun, parts_of, whole

_SPACES = Run(r"\s", 0, 64)
_BLANKS = Run(r"[ \t]", 0, 16)
_GAP = Run(r"[ \t]", 1, 16)
_NAME = Name()
_QUOTE = OneOf(('"', "'", ""))
_KEY = (_SPACES, _QUOTE, OneOf(formats.CALL_KEYS), _QUOTE, _SPACES, ":")
_PAYLOAD = OneOf(("{", "<parameter="))
_PREFIX = OneOf(("functions.", ""))


@dataclass(frozen=True, slots=True)
class Found:
    """A token that stands in the text: its kind, its text and the tool's name in it, if it has one."""

    kind: str
    text: str
    name: str


@dataclass(frozen=True, slots=True)
class Token:
    """Patterns of several kinds, and how they begin. Where one has a name, it is one of `names`."""

    fixed: _Alternatives
    named: tuple[_Alternatives, ...]
    names: Collection[str] = ()

    @classmethod
    def of(cls, *patterns: Pattern) -> Token:
        """Compile patterns; the longest of those that stand there should come first."""
        return cls.kinds({"token": patterns})

    @classmethod
    def kinds(cls, kinds: dict[str, Iterable[Pattern]]) -> Token:
        """Compile patterns of several kinds."""
        listed = {kind: list(patterns) for kind, patterns in kinds.items()}
        fixed = {kind: [pattern for pattern in patterns if not _named(pattern)] for kind, patterns in listed.items()}
        named = [(kind, pattern) for kind, patterns in listed.items() for pattern in patterns if _named(pattern)]
        return cls(_Alternatives.of(fixed), tuple(_Alternatives.named(kind, pattern) for kind, pattern in named))

    def at(self, text: str, position: int) -> Found | None:
        """The token that stands at `position`."""
        if match := self.fixed.whole.match(text, position):
            return Found(match.lastgroup or "", match.group(), "")
        for alternative in self.named:
            match = alternative.whole.match(text, position)
            if match and match.group(2) in self.names:
                return Found(next(iter(match.groupdict())), match.group(), match.group(2))
        return None

    def may_stand(self, text: str, position: int) -> bool:
        """Whether more text could make one stand at `position`."""
        if self.fixed.begun.match(text, position):
            return True
        return any(self._may_be_named(alternative.begun.match(text, position)) for alternative in self.named)

    def _may_be_named(self, match: re.Match[str] | None) -> bool:
        if not match:
            return False
        unfinished, written = match.groups()
        if written is not None:
            return written in self.names
        return unfinished is None or any(name.startswith(unfinished) for name in self.names)


def _named(pattern: Pattern) -> bool:
    return any(isinstance(part, Name) for part in pattern)


class _Alternatives:
    """Expressions, each compiled as it is first used: to compile them all took half of the time of a start."""

    def __init__(self, whole: str, begun: str) -> None:
        self._whole, self._begun = whole, begun

    @cached_property
    def whole(self) -> re.Pattern[str]:
        return re.compile(self._whole, re.IGNORECASE)

    @cached_property
    def begun(self) -> re.Pattern[str]:
        return re.compile(self._begun, re.IGNORECASE)

    @classmethod
    def of(cls, kinds: dict[str, list[Pattern]]) -> _Alternatives:
        """What holds no name."""
        groups = [f"(?P<{kind}>{any_of(patterns)})" for kind, patterns in kinds.items() if patterns]
        every = [pattern for patterns in kinds.values() for pattern in patterns]
        return cls("|".join(groups) or "(?!)", any_of(every, beginning=True))

    @classmethod
    def named(cls, kind: str, pattern: Pattern) -> _Alternatives:
        """A pattern that holds a name."""
        return cls(f"(?P<{kind}>{whole(pattern)})", begun(pattern))


def tags(texts: Iterable[str]) -> list[Pattern]:
    """The patterns of tags, the longest first."""
    return [formats.tag(text) for text in sorted(texts, key=len, reverse=True)]


def _spelled(words: tuple[str, ...], *ends: str) -> list[Pattern]:
    """Opening tags of these words in each spelling, or closing ones; an opening one of its own may have attributes."""
    return [
        (*parts_of(before), OneOf(words), OneOf((behind, " ") if side == "opening" and before != "<" else (behind,)))
        for spelling in formats.SPELLINGS
        for side in ends
        for before, behind in (getattr(spelling, side),)
    ]


_THOUGHT_WORDS = OneOf(formats.THOUGHT_WORDS)
_ANY_PREFIX = OneOf((*formats.PREFIX.choices, formats.UNDERSCORED, formats.BARRED))
WRAPPERS = [*tags((*formats.WRAPPERS, *formats.BRACKET_WRAPPERS)), *formats.FAMILY_WRAPPERS]
HEADS = [*tags(formats.FUNCTION_HEADS), *formats.FAMILY_HEADS]
SPELLED = _spelled((*formats.HOLDER_WORDS, *formats.CALL_WORDS), "opening")
_ANNOUNCED = Token.of(*WRAPPERS, *HEADS, *SPELLED)
CLOSERS = [
    *tags(formats.CLOSERS),
    *formats.FAMILY_CLOSERS,
    *_spelled((*formats.HOLDER_WORDS, *formats.CALL_WORDS, "argument", "message"), "closing"),
]
_THOUGHTS = [
    *tags(formats.THOUGHTS),
    ("<", _ANY_PREFIX, _THOUGHT_WORDS, ">"),
    *_spelled(formats.THOUGHT_WORDS, "opening"),
]
_LONE_ENDS = [
    *tags(end for end in formats.THOUGHTS.values() if end not in formats.FRAMES),
    ("</", _ANY_PREFIX, _THOUGHT_WORDS, ">"),
    *_spelled(formats.THOUGHT_WORDS, "closing"),
]
#: What a thought may end with, and the calls that may stand in it.
THOUGHT_MARKS = Token.kinds(
    {
        "closing": [*_LONE_ENDS, *tags((*formats.THOUGHTS.values(), *formats.MESSAGE_ENDS))],
        "call": [*WRAPPERS, *HEADS, *SPELLED],
    }
)


def announces(text: str, position: int) -> bool:
    """Say whether what announces a call stands at `position`, or may with more text."""
    return bool(_ANNOUNCED.at(text, position)) or _ANNOUNCED.may_stand(text, position)


_KIMI = formats.SPELLINGS[0]
_FRAMES = [
    *tags(formats.FRAMES),
    *formats.BARRED_CLOSERS,
    (*_KIMI.opening[0], OneOf(formats.FRAME_WORDS), Run(r"[^<>|]", 0, 120), *_KIMI.opening[1]),
    (*_KIMI.closing[0], OneOf(formats.FRAME_WORDS), *_KIMI.closing[1]),
]


def _beginning(char: str, patterns: Iterable[Pattern]) -> list[Pattern]:
    return [pattern for pattern in patterns if whole(pattern).removeprefix("\\").startswith(char)]


def _kinds(char: str) -> dict[str, Iterable[Pattern]]:
    return {
        "spelled": _beginning(char, SPELLED),
        "wrapper": _beginning(char, WRAPPERS),
        "function": _beginning(char, HEADS),
        "thought": _beginning(char, _THOUGHTS),
        "thought_end": _beginning(char, _LONE_ENDS),
    }


_TAGS = Token.kinds(
    {
        **_kinds("<"),
        "channel": tags(("<|channel|>", "<|start|>")),
        "frame": _FRAMES,
        "element": [("<", _NAME, Run(r"\s", 0, 4), OneOf((">", "/>")))],
    }
)
_BRACKETS = Token.kinds(
    {
        **_kinds("["),
        "array": [("[", _SPACES, "{", *_KEY)],
        "python": [("[", _SPACES, _PREFIX, _NAME, Run(r"\s", 0, 2), "(")],
        "pair": [("[", _BLANKS, _NAME, _BLANKS, ",", _SPACES, "{")],
        "prefixed": [("[tool:", _NAME, "]", _SPACES, _PAYLOAD)],
        "named": [("[", _NAME, "]", _BLANKS, OneOf(("\r\n", "\n")), _SPACES, _PAYLOAD)],
    }
)
_TITLE = (_NAME, _BLANKS, OneOf(("\r\n", "\n")), _SPACES, "{")
_TITLES = Token.kinds({"frame": [(">>>all", OneOf(("\r\n", "\n")))], "titled": [(">>>", *_TITLE)]})
_MARKS, _TRIANGLES = Token.kinds(_kinds("]")), Token.kinds(_kinds("◁"))
#: An object that begins as a call does.
CALL_OBJECT = Token.kinds({"object": [("{", *_KEY)]})
_HARMONY_MARK = (OneOf(((_GAP, OneOf(("code", "json"))),)), _SPACES, OneOf(("<|message|>", "")), _SPACES)
_LINES = Token.kinds(
    {
        "fence": [("```",), ("~~~",)],
        "functools": [("functools", _SPACES, "[")],
        "harmony": [
            (OneOf(("assistant", "")), OneOf(formats.LINE_WORDS), _GAP, "to=", _PREFIX, _NAME, *_HARMONY_MARK, "{")
        ],
        "action": [("Action:", _BLANKS, _NAME, _SPACES, "Action Input:")],
        "call": [(_PREFIX, _NAME, Run(r"[ \t]", 0, 2), "(")],
        "role": [("function call", *formats.tag("<|role_sep|>"), Run(r"\s", 0, 4))],
        "wrapper": [(_NAME, "<|content_invoke_tool_json|>")],
        "channel": [("to=", Run(r"[\w.:-]", 1, 64), OneOf(tags(("<|message|>", "<|channel|>"))))],
        "opening": [("all", OneOf(("\r\n", "\n")))],
        "untitled": [_TITLE],
    }
)
_LINE_LETTERS = {
    word[0] for word in (*formats.LINE_WORDS, "assistant", "functools", "functions.", "Action", "to=", "`", "~")
}


@dataclass(frozen=True, slots=True)
class Openers:
    """What may begin a call, by the character it begins with, and what may begin a line."""

    by_char: dict[str, Token]
    line: Token
    #: Ends where an opener may begin: before a character, or behind a line's end and blanks.
    candidate: re.Pattern[str]
    #: The same at the beginning of a line whose end is gone already.
    line_candidate: re.Pattern[str]

    @classmethod
    def of(cls, names: Collection[str]) -> Openers:
        """The openers for tools of these names."""
        letters = sorted(_LINE_LETTERS | {name[0] for name in names})
        first = "[" + "".join(re.escape(letter) for letter in letters) + "]"
        tokens = {"<": _TAGS, "[": _BRACKETS, "{": CALL_OBJECT, ">": _TITLES, "]": _MARKS, "◁": _TRIANGLES}
        return cls(
            {char: replace(token, names=names) for char, token in tokens.items()},
            replace(_LINES, names=names),
            re.compile(rf"(?=[<\[{{◁]|>(?:>|\Z)|\](?:<|\Z))|(?<=\n)[ \t]{{0,32}}(?={first})"),
            re.compile(rf"[ \t]{{0,32}}(?={first})"),
        )
