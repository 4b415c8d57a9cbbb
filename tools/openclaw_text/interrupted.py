"""Patterns of which a reader does not see all: what stands inside them is gone before it looks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tools.openclaw_text.patterns import LONGEST_WAIT, Endless, OneOf, Pattern, Run, parts_of, whole_part


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
        parts = parts_of(pattern)
        if not parts:
            return ""
        first, behind = parts[0], parts[1:]
        if isinstance(first, OneOf):
            return "(?:" + "|".join(self.opening([*parts_of(choice), *behind]) for choice in first.choices) + ")"
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
        return whole_part(first) + rest

    def begun(self, pattern: Pattern) -> str:
        """The expression that matches where the text ends inside `pattern`, or may turn out to be cut there."""
        parts = parts_of(pattern)
        if not parts:
            return "(?!)"
        first, behind = parts[0], parts[1:]
        end = rf"(?:\Z|{self.may_cut})"
        if isinstance(first, OneOf):
            return "(?:" + "|".join(self.begun([*parts_of(choice), *behind]) for choice in first.choices) + ")"
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
