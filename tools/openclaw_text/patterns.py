"""Patterns that know when they have begun.

A stream must hold back text that may be the start of an opener and nothing else. Python's regular expressions cannot
say "this is the beginning of a match", so a pattern is written as a sequence of parts, and two expressions are derived
from it: one for the whole pattern and one for everything that is cut off inside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_WAIT = 256
"""So many characters of a run without end are waited for; a longer one counts as the whole pattern."""


@dataclass(frozen=True, slots=True)
class Run:
    """At least `least` and at most `most` characters of a class such as `[a-z]`."""

    chars: str
    least: int = 1
    most: int = 120


@dataclass(frozen=True, slots=True)
class Endless:
    """At least `least` characters of a class, and no bound above.

    Nobody waits for ever: where the run is longer than `LONGEST_WAIT`, the pattern counts as matched. A part behind it
    never begins with a character of the class, unless that part is a run of the same class or optional.
    """

    chars: str
    least: int = 0


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any of these sequences; an empty one makes the part optional."""

    choices: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """A tool's name, captured as the pattern's only group."""


_NAME_CHAR = r"[\w.:-]"

type Part = str | Run | Endless | OneOf | Name
type Pattern = Sequence[Part]


def whole(pattern: Pattern) -> str:
    """The expression that matches `pattern` completely."""
    return "".join(_whole_part(part) for part in _parts(pattern))


def begun(pattern: Pattern) -> str:
    """The expression that matches where the text ends inside `pattern`, its whole rest included."""
    parts = _parts(pattern)
    if not parts:
        return "(?!)"
    first, rest = parts[0], begun(parts[1:])
    if isinstance(first, str):
        return _begun_literal(first, rest)
    if isinstance(first, Name):
        return rf"(?:({_NAME_CHAR}{{0,64}})\Z|{_whole_part(first)}{rest})"
    if isinstance(first, Run):
        return rf"(?:{first.chars}{{0,{first.most}}}\Z|{_whole_part(first)}{rest})"
    if isinstance(first, Endless):
        return rf"(?:{first.chars}{{0,{LONGEST_WAIT}}}+\Z|{first.chars}{{{first.least},{LONGEST_WAIT}}}+{rest})"
    inside = "|".join(begun(choice) for choice in first.choices)
    return rf"(?:{inside}|{_whole_part(first)}{rest})"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Patterns with something inside that their reader does not see.

    Expressions for one character each: `cut` is the beginning of what ends nobody knows where, `may_cut` what the end
    of the text leaves open, `nothing` a character that does not count.
    """

    cut: str
    may_cut: str
    nothing: str

    def opening(self, pattern: Pattern) -> str:
        """The expression that matches `pattern`, or as much of it as is enough to take it for one.

        That is up to a cut inside it, and up to the end of `LONGEST_WAIT`. What stands behind a choice is written once
        for each choice.
        """
        parts = _parts(pattern)
        if not parts:
            return ""
        first, behind = parts[0], parts[1:]
        if isinstance(first, OneOf):
            return "(?:" + "|".join(self.opening([*_parts(choice), *behind]) for choice in first.choices) + ")"
        rest = f"(?:{self.opening(behind)}|{self.cut})" if behind else ""
        if isinstance(first, Endless):
            waited = rf"{self._run(first.chars)}{{{first.least},{LONGEST_WAIT}}}+{rest}"
            return rf"(?:{waited}|{self._run(first.chars)}{{{LONGEST_WAIT + 1}}})"
        if isinstance(first, Run):
            return f"{self._run(first.chars)}{{{first.least},{first.most}}}{rest}"
        if isinstance(first, str) and first:
            for char in reversed(first[1:]):
                rest = f"(?:{self._char(char)}{rest}|{self.cut})"
            return self._char(first[0]) + rest
        return _whole_part(first) + rest

    def begun(self, pattern: Pattern) -> str:
        """The expression that matches where the text ends inside `pattern`, or may turn out to be cut there."""
        parts = _parts(pattern)
        if not parts:
            return "(?!)"
        first, behind = parts[0], parts[1:]
        end = rf"(?:\Z|{self.may_cut})"
        if isinstance(first, OneOf):
            return "(?:" + "|".join(self.begun([*_parts(choice), *behind]) for choice in first.choices) + ")"
        rest = self.begun(behind)
        if isinstance(first, Endless):
            run = self._run(first.chars)
            return rf"(?:{run}{{0,{LONGEST_WAIT}}}+{end}|{run}{{{first.least},{LONGEST_WAIT}}}+{rest})"
        if isinstance(first, Run):
            run = self._run(first.chars)
            return rf"(?:{run}{{0,{first.most}}}{end}|{run}{{{first.least},{first.most}}}{rest})"
        for char in reversed(str(first)):
            rest = rf"(?:{end}|{self._char(char)}{rest})"
        return rest

    def _char(self, char: str) -> str:
        return f"{re.escape(char)}{self.nothing}*+"

    def _run(self, chars: str) -> str:
        return f"(?:{chars}{self.nothing}*+)"


def _parts(pattern: Pattern) -> Sequence[Part]:
    return [pattern] if isinstance(pattern, str) else pattern


def _whole_part(part: Part) -> str:
    if isinstance(part, str):
        return re.escape(part)
    if isinstance(part, Name):
        return f"({_NAME_CHAR}{{1,64}})"
    if isinstance(part, Run):
        return f"{part.chars}{{{part.least},{part.most}}}"
    if isinstance(part, Endless):
        return f"{part.chars}{{{part.least},}}+"
    return "(?:" + "|".join(whole(choice) for choice in part.choices) + ")"


def _begun_literal(text: str, rest: str) -> str:
    expression = rest
    for char in reversed(text):
        expression = rf"(?:\Z|{re.escape(char)}{expression})"
    return expression
