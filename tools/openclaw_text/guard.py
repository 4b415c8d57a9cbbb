"""Text is not a tool call: an answer is changed so that OpenClaw neither runs nor removes any part of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from tools.openclaw_text.deeds import (
    BLANKS,
    DEFUSED,
    HORIZONTAL_BLANKS,
    HORIZONTAL_SPACE,
    REASONING,
    SPACE,
    TRACES,
)
from tools.openclaw_text.formats import LINE_WORDS
from tools.openclaw_text.interrupted import Interrupted
from tools.openclaw_text.patterns import LONGEST_WAIT, Pattern, begun, whole

#: U+2060, a character without width that is no white space to OpenClaw: the text looks the same and is inert.
WORD_JOINER = "\u2060"

# OpenClaw takes reasoning out before it looks for anything: `[ex<think></think>ec]` is `[exec]` to it. So what a tag of
# reasoning cuts off in the middle counts as whole. A closing tag may stand behind any word, so what follows it tells.
# Where patterns are matched, one of these stands for the `<` of an opening tag, for the `<` of what may become a tag,
# and for each character of a closing tag; no text of Unicode holds them.
CUT, MAY_CUT, NOTHING = "\ufdd0", "\ufdd1", "\ufdd2"
# A text that holds them all the same does not mark anything.
_FOREIGN = dict.fromkeys(map(ord, (CUT, MAY_CUT, NOTHING)), "\ufdd3")
_INTERRUPTED = Interrupted(CUT, MAY_CUT, NOTHING)
_BOUNDED = f"{SPACE}{{0,{LONGEST_WAIT}}}+"
_NAMES = whole(REASONING[-2:])
_BEGUN_TAG = f"(?=<){begun(REASONING)}"
_TAGS = re.compile(
    rf"(?P<closing><{_BOUNDED}/{_BOUNDED}{_NAMES}[^<>]{{0,{LONGEST_WAIT}}}+(?:>|(?P<unended>\Z)))"
    rf"|<{_BOUNDED}(?:{SPACE}|/?{_BOUNDED}(?:{SPACE}|{_NAMES}))"
    rf"|(?P<inner>{_BEGUN_TAG.replace(chr(92) + 'Z', '(?=<)')})|(?P<begun>{_BEGUN_TAG})",
    re.IGNORECASE,
)
# A tag that stands inside another's name goes first, and leaves one behind.
_AROUND = re.compile(rf"(?:<{_BOUNDED}/?{_BOUNDED})++(?={CUT})")

_BREAKS = "\n\r}]>"
# A bracket, a tag or a mark counts anywhere, since OpenClaw removes much of what stands before one. A word such as
# `commentary` counts at the start of a line and behind what may have been the end of another call.
ANYWHERE = "(?=[<\\[\ue200])"
AT_BREAK = (
    "(?=[" + "".join(sorted({char for word in LINE_WORDS for char in (word[0], word[0].upper())})) + "tT📊🛠📖📝🔍🔎⚙⚠])"
)


def opener(patterns: Iterable[Pattern]) -> re.Pattern[str]:
    """The expression that finds in `marked` text what OpenClaw would take for one of `patterns`."""
    return _compiled(map(_INTERRUPTED.opening, patterns))


def begun_opener(patterns: Iterable[Pattern]) -> re.Pattern[str]:
    """The expression that finds in `marked` text where it ends inside one of `patterns`."""
    return _compiled(map(_INTERRUPTED.begun, patterns))


def _compiled(expressions: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(expressions).replace("<", f"[<{MAY_CUT}{CUT}]"), re.IGNORECASE)


def marked(text: str) -> str:
    """Return the text with its tags of reasoning marked; no character moves."""
    text = text.translate(_FOREIGN)
    if "<" not in text:
        return text
    read = _TAGS.sub(_mark, text)
    return _AROUND.sub(lambda tags: tags[0].replace("<", CUT), read) if CUT in read else read


def _mark(tag: re.Match[str]) -> str:
    if tag["begun"] is not None or tag["unended"] is not None:
        return MAY_CUT + tag[0][1:]
    if tag["inner"] is not None and not tag[0].strip(f"</{BLANKS}"):
        return tag[0]
    return NOTHING * len(tag[0]) if tag["closing"] else CUT + tag[0][1:]


class Openers:
    """Passes a stream of text through and puts a `WORD_JOINER` into each opener.

    What cannot be an opener is not delayed, and the output does not depend on how the text is cut. What waits is
    never longer than a few times `LONGEST_WAIT`.
    """

    def __init__(self, patterns: tuple[re.Pattern[str], re.Pattern[str]], anywhere: str, at_break: str = "") -> None:
        self._whole, self._begun = patterns
        self._candidate, self._candidate_at_break = _candidates(anywhere, at_break)
        self._held = ""
        self._at_break = True

    def feed(self, text: str) -> str:
        """Take the next piece of text and return what is safe to show by now."""
        text, self._held = self._held + text, ""
        read = marked(text)
        shown: list[str] = []
        done = 0
        for start in self._starts(text):
            if start < done:
                continue
            if self._whole.match(read, start):
                # A picture keeps what chooses its looks behind it.
                place = start if text[start] > "\uffff" or text[start] in "⚙⚠" else start + 1
                shown += (text[done:place], WORD_JOINER)
                done = place
            elif self._begun.match(read, start):
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

    def end_block(self) -> str:
        """Return what was held back, and begin anew."""
        self._at_break = True
        return self.close()

    def _starts(self, text: str) -> list[int]:
        pattern = self._candidate_at_break if self._at_break else self._candidate
        return [match.end() for match in pattern.finditer(text)]

    def _remember_break(self, shown: str) -> None:
        before = shown.rstrip(HORIZONTAL_BLANKS)
        if before:
            self._at_break = before[-1] in _BREAKS


def _candidates(anywhere: str, at_break: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    if not at_break:
        return re.compile(anywhere), re.compile(anywhere)
    behind = rf"{anywhere}|(?<=[\n\r}}\]>]){HORIZONTAL_SPACE}*+{at_break}"
    return re.compile(behind), re.compile(rf"{behind}|\A{HORIZONTAL_SPACE}*+{at_break}")


class _Bars:
    """Defuses special tokens such as `<|im_end|>` at their end: from bar to bar, OpenClaw takes anything for one."""

    _BAR = re.compile("[|｜]")

    def __init__(self) -> None:
        self._before = ""
        self._open = False
        self._held = ""

    def feed(self, text: str, *, last: bool = False) -> str:
        """Take the next piece of text and return what is safe to show by now."""
        text, self._held = self._before + self._held + text, ""
        done = len(self._before)
        shown: list[str] = []
        for bar in self._BAR.finditer(text, done):
            at = bar.start()
            if self._open and bar.end() == len(text) and not last:
                shown.append(text[done:at])
                self._before, self._held = text[at - 1 : at], text[at:]
                return "".join(shown)
            if self._open and text[at + 1 : at + 2] in {">", "<"}:
                shown += (text[done : at + 1], WORD_JOINER)
                done = at + 1
            self._open = text[at - 1 : at] in {"<", ">"} if at else False
        self._before = text[-1:]
        return "".join([*shown, text[done:]])


class TextGuard:
    """Passes a stream of answer text through and defuses what OpenClaw would take for a tool call.

    OpenClaw executes an answer that consists only of text calls, and removes such blocks, of any name, from other
    answers. So every opener gets a `WORD_JOINER` behind its first character. What cannot be an opener is not delayed,
    and the output does not depend on how the text is cut.
    """

    def __init__(self) -> None:
        self._openers = Openers(_patterns(), ANYWHERE, AT_BREAK)
        self._bars = _Bars()

    def feed(self, text: str) -> str:
        """Take the next piece of text and return what is safe to show by now."""
        return self._bars.feed(self._openers.feed(text))

    def close(self) -> str:
        """End the stream and return what was still held back: an opener that never came to be one."""
        return self._bars.feed(self._openers.close(), last=True)

    def end_block(self) -> str:
        """Return what was held back. What comes is another block of the same answer, which OpenClaw reads by itself."""
        held = self._openers.end_block()
        return self._bars.feed(held + WORD_JOINER if held else "", last=True)


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    return opener((*DEFUSED, *TRACES)), begun_opener((*DEFUSED, *TRACES))
