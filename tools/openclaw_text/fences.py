"""Fenced code that is a call as a whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tools.openclaw_text.grammar import Grammar
from tools.openclaw_text.openers import Token
from tools.openclaw_text.patterns import Run
from tools.openclaw_text.python_text import BadPythonError, statements
from tools.openclaw_text.tape import Steps, Tape
from tools.openclaw_text.toolbox import Item, NotACallError

HEAD_CAP = 80
PROSE_CAP = 200

#: The languages of a fence in which a JSON call is a call.
_JSON = {"", "json", "jsonc", "json5", "tool", "tool_call", "tool_calls", "tool_use", "function_call", "action"}
#: The languages of a fence in which Python calls are calls; in `python`, only if the fence ends the text.
_PYTHON = {"tool_code", "tool_call", "tool_calls", "tool", "python", "py"}
_LAST = {"python", "py"}
#: The languages that say that this is a call.
_ANNOUNCED = {"tool", "tool_call", "tool_calls", "tool_use", "function_call", "action", "tool_code"}
_OBSERVATION = Token.of(("Observation:",))
_HEAD = re.compile(r"(`{3,16}|~{3,16})[ \t]{0,8}([\w-]{0,32})[ \t]{0,8}\r?\n")
_PROSE = re.compile(r"[^{\[<`~]*")
_LINE_END = re.compile(r"\n")


@dataclass(frozen=True, slots=True)
class Fence:
    """A fence whose first line is read: its language, and the line that ends it."""

    language: str
    end: Token

    def read(self, grammar: Grammar) -> Steps[list[Item]]:
        """Read the whole fence as calls. Raises `NotACallError` and `BrokenCallError`."""
        tape = grammar.tape
        char = yield from tape.peek()
        if char == "<":
            found = yield from self._calls(grammar, hard=True)
        elif self.language in _PYTHON and (char.isidentifier() or (char == "[" and self.language not in _JSON)):
            found = yield from self._python(grammar)
        elif self.language in _JSON:
            yield from self._prose(tape)
            found = yield from self._calls(grammar, hard=False)
        else:
            raise NotACallError
        behind = yield from tape.peek()
        if self.language in _LAST and behind:
            raise NotACallError
        # An example that is shown has text around it; who calls waits for the result.
        if self.language not in _ANNOUNCED and behind and behind not in "<[{`~":
            if not (yield from tape.token(_OBSERVATION)):
                raise NotACallError
            tape.at -= len("Observation:")
        return found

    def skip(self, tape: Tape) -> Steps[None]:
        """Go behind the fence's end, or to the end of the text."""
        while True:
            if (yield from self._ends(tape)):
                return
            while (end := tape.text.find("\n", tape.at)) < 0:
                tape.at = len(tape.text)
                if not (yield from tape.more(_LINE_END)):
                    return
            tape.at = end + 1

    def _ends(self, tape: Tape) -> Steps[bool]:
        match = yield from tape.token(self.end)
        if match:
            return True
        # At the end of the text the line end may be missing.
        if tape.ended and self.end.may_stand(tape.text, tape.at):
            tape.at = len(tape.text)
            return True
        return False

    def _calls(self, grammar: Grammar, *, hard: bool) -> Steps[list[Item]]:
        found: list[Item] = []
        while True:
            yield from grammar.tape.peek()
            if found and (yield from self._ends(grammar.tape)):
                return found
            if found and hard and (yield from grammar.closer()):
                continue
            found += yield from grammar.read(hard=hard)

    def _prose(self, tape: Tape) -> Steps[None]:
        """Skip the sentence that some models put before the object."""
        while True:
            match = _PROSE.match(tape.text, tape.at)
            end = match.end() if match else tape.at
            if end - tape.at > PROSE_CAP:
                raise NotACallError
            if end < len(tape.text) or not (yield from tape.more()):
                tape.at = end
                return

    def _python(self, grammar: Grammar) -> Steps[list[Item]]:
        tape = grammar.tape
        if tape.text[tape.at] != "[" and not (yield from grammar.begins_with_python()):
            raise NotACallError
        start = tape.hold()
        try:
            yield from self.skip(tape)
            lines = tape.since(start).rstrip().splitlines()
        finally:
            tape.release()
        if lines and re.fullmatch(r"[ \t]*(`{3,}|~{3,})[ \t]*", lines[-1]):
            lines.pop()
        found: list[Item] = []
        try:
            listed = statements("\n".join(lines))
        except BadPythonError as error:
            raise NotACallError from error
        for statement in listed:
            found += grammar.from_python(statement, hard=False)
        if not found:
            raise NotACallError
        return found


def read_fence_head(tape: Tape) -> Steps[Fence | None]:
    """Read a fence's first line; None when this is no fence."""
    while not (match := _HEAD.match(tape.text, tape.at)):
        if "\n" in tape.text[tape.at :] or len(tape.text) - tape.at > HEAD_CAP or not (yield from tape.more()):
            return None
    tape.at = match.end()
    marks = match.group(1)
    blanks = Run("[ \t]", 0, 8)
    return Fence(match.group(2).lower(), Token.of((blanks, marks, Run(re.escape(marks[0]), 0, 64), blanks, "\n")))
