"""Text is not a tool call: an answer is changed so that OpenClaw neither runs nor removes any part of it."""

from __future__ import annotations

import re

from tools.openclaw_text.formats import DEFUSED, HORIZONTAL_SPACE, LINE_WORDS
from tools.openclaw_text.patterns import begun, whole

#: U+2060, a character without width that is no white space to OpenClaw: the text looks the same and is inert.
WORD_JOINER = "\u2060"

_WHOLE = re.compile("|".join(whole(pattern) for pattern in DEFUSED), re.IGNORECASE)
_BEGUN = re.compile("|".join(begun(pattern) for pattern in DEFUSED), re.IGNORECASE)

# A bracket or tag counts anywhere, since OpenClaw removes much of what stands before one. A word such as `commentary`
# counts at the start of a line and behind what may have been the end of another call.
_WORD = "(?=[" + "".join(sorted({word[0] + word[0].upper() for word in LINE_WORDS})) + "])"
_BEHIND_BREAK = rf"(?=[<\[])|(?<=[\n\r}}\]>]){HORIZONTAL_SPACE}*{_WORD}"
_CANDIDATE = re.compile(_BEHIND_BREAK)
_CANDIDATE_AT_BREAK = re.compile(rf"{_BEHIND_BREAK}|\A{HORIZONTAL_SPACE}*{_WORD}")
_ENDS_AT_BREAK = re.compile(rf"[\n\r}}\]>]{HORIZONTAL_SPACE}*\Z")
_BLANK = re.compile(rf"{HORIZONTAL_SPACE}*\Z")


class TextGuard:
    """Passes a stream of answer text through and defuses what OpenClaw would take for a tool call.

    OpenClaw executes an answer that consists only of text calls, and removes such blocks, of any name, from other
    answers. So every opener gets a `WORD_JOINER` behind its first character. What cannot be an opener is not delayed,
    and the output does not depend on how the text is cut.
    """

    def __init__(self) -> None:
        self._held = ""
        self._at_break = True

    def feed(self, text: str) -> str:
        """Take the next piece of text and return what is safe to show by now."""
        text, self._held = self._held + text, ""
        shown: list[str] = []
        done = 0
        for start in self._candidates(text):
            if start < done:
                continue
            if _WHOLE.match(text, start):
                shown += (text[done : start + 1], WORD_JOINER)
                done = start + 1
            elif _BEGUN.match(text, start):
                shown.append(text[done:start])
                self._held = text[start:]
                break
        else:
            shown.append(text[done:])
        safe = "".join(shown)
        self._remember_break(safe)
        return safe

    def close(self) -> str:
        """End the stream and return what was still held back: an opener that never came to be one."""
        held, self._held = self._held, ""
        return held

    def _candidates(self, text: str) -> list[int]:
        pattern = _CANDIDATE_AT_BREAK if self._at_break else _CANDIDATE
        return [match.end() for match in pattern.finditer(text)]

    def _remember_break(self, shown: str) -> None:
        if _ENDS_AT_BREAK.search(shown):
            self._at_break = True
        elif not _BLANK.match(shown):
            self._at_break = False
