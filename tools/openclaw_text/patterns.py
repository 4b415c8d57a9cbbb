"""Patterns that know when they have begun.

A stream must hold back text that may be the start of an opener and nothing else. Python's regular expressions cannot
say "this is the beginning of a match", so a pattern is written as a sequence of parts, and two expressions are derived
from it: one for the whole pattern and one for everything that is cut off inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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

    choices: Sequence[Pattern]


@dataclass(frozen=True, slots=True)
class Name:
    """A tool's name, captured as the pattern's only group."""


_NAME_CHAR = r"[\w.:-]"

type Part = str | Run | Endless | OneOf | Name
type Pattern = Sequence[Part]


def whole(pattern: Pattern) -> str:
    """The expression that matches `pattern` completely."""
    return "".join(whole_part(part) for part in parts_of(pattern))


def begun(pattern: Pattern) -> str:
    """The expression that matches where the text ends inside `pattern`, its whole rest included."""
    parts = parts_of(pattern)
    if not parts:
        return "(?!)"
    first, rest = parts[0], begun(parts[1:])
    if isinstance(first, str):
        return _begun_literal(first, rest)
    if isinstance(first, Name):
        return rf"(?:({_NAME_CHAR}{{0,64}})\Z|{whole_part(first)}{rest})"
    if isinstance(first, Run):
        return rf"(?:{first.chars}{{0,{first.most}}}\Z|{whole_part(first)}{rest})"
    if isinstance(first, Endless):
        return rf"(?:{first.chars}{{0,{LONGEST_WAIT}}}+\Z|{first.chars}{{{first.least},{LONGEST_WAIT}}}+{rest})"
    inside = "|".join(begun(choice) for choice in first.choices)
    return rf"(?:{inside}|{whole_part(first)}{rest})"


def parts_of(pattern: Pattern) -> Sequence[Part]:
    """Return the parts of a pattern, a text being one part."""
    return [pattern] if isinstance(pattern, str) else pattern


def whole_part(part: Part) -> str:
    """Return the expression that matches one part."""
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


def any_of(patterns: Iterable[Pattern], *, beginning: bool = False) -> str:
    """The expression that matches one of many patterns, the longest, or where the text ends inside one of them.

    What they begin with in common is looked at once. None of them holds a name.
    """
    rests: dict[str, list[Pattern]] = {}
    firsts: dict[str, Part] = {}
    complete = False
    for pattern in patterns:
        first, *rest = [*(part for part in parts_of(pattern) if part != ""), ""]
        if first == "":
            complete = True
            continue
        if isinstance(first, str) and len(first) > 1:
            first, rest = first[0], [first[1:], *rest]
        key = whole_part(first.lower() if isinstance(first, str) else first)
        firsts[key] = first
        rests.setdefault(key, []).append(rest)
    found = [f"{key}{any_of(rests[key], beginning=beginning)}" for key in firsts]
    if beginning:
        found += [r"\Z" if isinstance(first, str) else begun([first]) for first in firsts.values()]
    elif complete:
        found.append("")
    return f"(?:{'|'.join(dict.fromkeys(found))})" if found else "(?!)"
