"""Text is not an order: what OpenClaw would take as one to itself is shown as text.

OpenClaw takes a line `MEDIA:<path or URL>` for an attachment to send, `[[reply_to_current]]`, `[[reply_to: id]]`,
`[[audio_as_voice]]` and `[[tts:...]]` for how to send, and an answer that begins or ends with `NO_REPLY` or
`HEARTBEAT_OK`, or says so in JSON, for silence. Source: OpenClaw 2026.9.6.
"""

import re
from typing import Literal

from tools.openclaw_text.deeds import ACKNOWLEDGEMENT, ATTACHMENT, BLANKS, NOTES, SILENCES, SPACE, TAGS
from tools.openclaw_text.guard import CUT, MAY_CUT, NOTHING, WORD_JOINER, Openers, begun_opener, marked, opener
from tools.openclaw_text.patterns import LONGEST_WAIT
from tools.openclaw_text.whole_answers import holds_json_order

_TAGS = (opener(TAGS), begun_opener(TAGS))
_ANY = (ATTACHMENT, *SILENCES, ACKNOWLEDGEMENT, *NOTES)
_WORD = re.compile(
    rf"(?P<attachment>{opener((ATTACHMENT,)).pattern})|(?P<silence>{opener(SILENCES).pattern})"
    rf"|(?P<acknowledgement>{opener((ACKNOWLEDGEMENT,)).pattern})|(?P<note>{opener(NOTES).pattern})",
    re.IGNORECASE,
)
_BEGUN = begun_opener(_ANY)
# Where one of them may begin: at the beginning of a word, but for what OpenClaw looks for at the very end.
_INITIALS = "".join(sorted({str(word[0])[0] for word in _ANY}))
_INITIAL = re.compile(rf"(?<![^\W_])(?=[{_INITIALS}{_INITIALS.upper()}])|(?={ACKNOWLEDGEMENT[0].upper()})")
_OPENING_TAG = frozenset({CUT, MAY_CUT})
_JSON_ENDS = frozenset({"}", '"'})
_LETTER = re.compile(r"[^\W_]")
_REST = f"{{0,{LONGEST_WAIT}}}+"
# What may stand behind a word that is the last of its line. To OpenClaw, no letter beyond ASCII is one.
_BEHIND_SILENCE = re.compile(rf"(?:[^\w\n<]|_){_REST}")
_BEHIND_ACKNOWLEDGEMENT = re.compile(rf"(?:nbsp;|[^A-Za-z0-9\n<]){_REST}", re.IGNORECASE)
_BEFORE_SILENCE = re.compile(rf"{SPACE}|[*.]")

_Verdict = Literal["order", "text", "wait"]


class OrderGuard:
    """Passes a stream of answer text through and puts a `WORD_JOINER` into each order.

    What cannot be an order is not delayed, and the output does not depend on how the text is cut.
    """

    def __init__(self) -> None:
        self._tags = Openers(_TAGS, r"(?=\[)")
        self._words = _Words()

    def feed(self, text: str) -> str:
        """Take the next piece of text and return what is safe to show by now."""
        return self._words.feed(self._tags.feed(text))

    def close(self) -> str:
        """End the stream and return what was still held back."""
        return self._words.close(self._tags.close())

    def end_block(self) -> str:
        """Return what was held back. What comes is another block of the same answer, which OpenClaw reads by itself."""
        held = self._tags.end_block()
        return self._words.end_block(held + WORD_JOINER if held else "")


class _Words:
    """Words that are orders where they stand first or last in their line, or begin the answer.

    OpenClaw reads an answer as a whole, and also paragraph by paragraph, as it sends them.
    """

    def __init__(self) -> None:
        self._told: list[str] = []
        self._block: list[str] = []
        self._held = ""
        self._before = ""
        self._first = True
        self._silent = True
        self._tagged = False
        self._mark = ""

    def feed(self, text: str) -> str:
        """Take the next piece of text and return what is safe to show by now."""
        return self._read(text, last=False)

    def close(self, text: str) -> str:
        """Return the rest. What would be an order as a whole gets something behind it."""
        return self._closed(text)

    def end_block(self, text: str) -> str:
        """Return the rest, and begin a line. A block may be an order, and so may all of them together."""
        begun = self._held + text
        shown = self._closed(text) + (WORD_JOINER if begun else "")
        self._block, self._before, self._first, self._silent, self._mark = [], "", True, True, ""
        return shown

    def _closed(self, text: str) -> str:
        shown = self._read(text, last=True)
        block, whole = "".join(self._block), "".join(self._told)
        return shown + WORD_JOINER if holds_json_order(block) or holds_json_order(whole) else shown

    def _read(self, text: str, *, last: bool) -> str:
        text, self._held = self._before + self._held + text, ""
        read = marked(text)
        done = seen = len(self._before)
        shown: list[str] = []
        for place in _INITIAL.finditer(text, seen):
            start = place.start()
            if start < done:
                continue
            found = _WORD.match(read, start)
            tag = read[start] in _OPENING_TAG
            if not found and not tag and (last or not _BEGUN.match(read, start)):
                continue
            self._pass(text, seen, start)
            seen = start
            if tag and self._mark in _JSON_ENDS:
                # OpenClaw may read no further than to here.
                if read[start] == CUT:
                    shown += (text[done:start], WORD_JOINER)
                    done = start
                    continue
                verdict: _Verdict = "text" if last else "wait"
            elif found:
                verdict = self._verdict(text, found, last=last)
            else:
                verdict = "wait" if not last and _BEGUN.match(read, start) else "text"
            if verdict == "order":
                shown += (text[done : start + 1], WORD_JOINER)
                done = start + 1
            elif verdict == "wait":
                shown.append(text[done:start])
                self._held = text[start:]
                break
        else:
            self._pass(text, seen, len(text))
            shown.append(text[done:])
        self._before = text[: len(text) - len(self._held)][-1:]
        safe = "".join(shown)
        self._told.append(safe)
        self._block.append(safe)
        return safe

    def _pass(self, text: str, start: int, end: int) -> None:
        """Remember what stands before what comes: nothing but the end of a tag stands between a break and its line."""
        breaks = [text.rfind("\n", start, end)]
        self._tagged = self._tagged or text.find("<", start, end) >= 0
        if self._tagged:
            breaks.append(text.rfind(">", start, end))
        behind = max(breaks)
        self._first = (behind >= 0 or self._first) and not _LETTER.search(text, max(start, behind + 1), end)
        self._silent = self._silent and not _LETTER.search(text, start, end)
        self._mark = text[start:end].rstrip(BLANKS)[-1:] or self._mark

    def _verdict(self, text: str, found: re.Match[str], *, last: bool) -> _Verdict:
        start, end = found.span()
        if found[0].endswith(CUT):
            return "order"
        if found["attachment"]:
            return "order" if self._first else "text"
        if found["acknowledgement"]:
            # A space as an entity may stand before it.
            if self._mark == ";":
                return "order"
            exact = found[0].replace(NOTHING, "") == ACKNOWLEDGEMENT.upper()
            return self._at_end(text, _BEHIND_ACKNOWLEDGEMENT.match(text, end), exact, last=last)
        if found["silence"]:
            apart = bool(_BEFORE_SILENCE.match(text, start - 1)) if start else False
            return self._at_end(text, _BEHIND_SILENCE.match(text, end), apart, last=last)
        return "order" if self._first and (self._silent or self._tagged) else "text"

    def _at_end(self, text: str, behind: re.Match[str] | None, counts: bool, *, last: bool) -> _Verdict:
        """Say whether a word is the first of its line, or the last and counts there."""
        if self._first:
            return "order"
        if not counts or behind is None:
            return "text"
        if behind.end() == len(text):
            long = behind.end() - behind.start() >= LONGEST_WAIT
            return "order" if last or long else "wait"
        if not last and behind.re is _BEHIND_ACKNOWLEDGEMENT and "nbsp;".startswith(text[behind.end() :].lower()):
            return "wait"
        return "text" if _LETTER.match(text, behind.end()) else "order"
