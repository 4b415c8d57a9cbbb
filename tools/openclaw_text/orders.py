"""Text is not an order: what OpenClaw would take as one to itself is shown as text.

OpenClaw takes a line `MEDIA:<path or URL>` for an attachment to send, `[[reply_to_current]]`, `[[reply_to: id]]`,
`[[audio_as_voice]]` and `[[tts:...]]` for how to send, and an answer that begins or ends with `NO_REPLY` or
`HEARTBEAT_OK`, or says so in JSON, for silence. Source: OpenClaw 2026.9.6.
"""

import re
from typing import Literal

from tools.openclaw_text.deeds import (
    ACKNOWLEDGEMENT,
    ATTACHMENT,
    BLANKS,
    NOTES,
    REASONING_NAMES,
    SILENCES,
    SPACE,
    TAGS,
)
from tools.openclaw_text.guard import CUT, CUT_LESS, NOTHING, WORD_JOINER, Openers, begun_opener, marked, opener
from tools.openclaw_text.patterns import LONGEST_WAIT
from tools.openclaw_text.whole_answers import json_order

_TAGS = (opener(TAGS), begun_opener(TAGS))
_ANY = (ATTACHMENT, *SILENCES, ACKNOWLEDGEMENT, *NOTES)
_WORD = opener(_ANY, CUT_LESS)
_BEGUN = begun_opener(_ANY, CUT_LESS)
# Where one of them may begin: at the beginning of a word, but for what OpenClaw looks for at the very end.
_INITIALS = "".join(sorted({str(word[0])[0] for word in _ANY}))
_INITIAL = re.compile(rf"(?<![^\W_])(?=[{_INITIALS}{_INITIALS.upper()}])|(?={ACKNOWLEDGEMENT[0].upper()})")
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
        self._json = _TagsInJson()
        self._tags = Openers(_TAGS, r"(?=\[)")
        self._words = _Words()

    def feed(self, text: str) -> str:
        """Take the next piece of text and return what is safe to show by now."""
        return self._words.feed(self._tags.feed(self._json.feed(text)))

    def close(self) -> str:
        """End the stream and return what was still held back."""
        return self._words.close(self._tags.feed(self._json.close()) + self._tags.close())

    def end_block(self) -> str:
        """Return what was held back. What comes is another block of the same answer, which OpenClaw reads by itself."""
        told = self._tags.feed(self._json.close())
        held = self._tags.end_block()
        return self._words.end_block(told + (held + WORD_JOINER if held else ""))


class _TagsInJson:
    """Puts a `WORD_JOINER` into each tag of reasoning in an answer that is JSON to all appearances.

    OpenClaw takes such tags out first, so that `{"na<think></think>me": "message", ...}` orders something. Where a
    text only quotes them, it does no harm that they stay.
    """

    def __init__(self) -> None:
        self._state: Literal["lead", "reasoning", "json", "text"] = "lead"
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece of text and return what is safe to show by now."""
        return self._read(text, last=False)

    def close(self) -> str:
        """Return what was held back; another block may come."""
        shown = self._read("", last=True)
        self._state = "lead"
        return shown

    def _read(self, text: str, *, last: bool) -> str:
        if self._state == "text":
            return text
        text, self._held = self._held + text, ""
        shown: list[str] = []
        done = 0
        while (found := self._next(text, done)) is not None:
            if not last and _BEGUN_TAG.match(text, found):
                self._held = text[found:]
                break
            end, joiner = self._pass(text, found)
            shown += (text[done:end], joiner)
            done = end
        shown.append(text[done : len(text) - len(self._held)])
        return "".join(shown)

    def _next(self, text: str, start: int) -> int | None:
        """Return where the next character stands that decides anything."""
        if self._state == "text":
            return None
        if self._state == "lead":
            found = _NO_BLANK.search(text, start)
            return found.start() if found else None
        place = text.find("<", start)
        return place if place >= 0 else None

    def _pass(self, text: str, place: int) -> tuple[int, str]:
        """Take the character that stands there; return what is behind it, and what goes in between."""
        tag = _TAG.match(text, place)
        if self._state == "json":
            return place + 1, WORD_JOINER if tag else ""
        if self._state == "reasoning":
            if tag and "/" in tag[0]:
                self._state = "lead"
                end = text.find(">", place)
                return (end + 1 if end >= 0 else len(text)), ""
            return place + 1, ""
        if text[place] in '{"':
            self._state = "json"
        elif tag:
            self._state = "reasoning"
        else:
            self._state = "text"
        return place + 1, ""


_NAMES = [before + name for before in ("antml:", "mm:", "") for name in REASONING_NAMES]
_NO_BLANK = re.compile(f"[^{BLANKS}]")
_INSIDE = rf"<[{BLANKS}/]{{0,{LONGEST_WAIT}}}+"
_TAG = re.compile(rf"{_INSIDE}(?:{'|'.join(_NAMES)}|[{BLANKS}/])", re.IGNORECASE)
_STARTS = sorted({name[:length] for name in _NAMES for length in range(len(name))}, key=len, reverse=True)
_BEGUN_TAG = re.compile(rf"{_INSIDE}(?:{'|'.join(_STARTS)})\Z", re.IGNORECASE)


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
        return self._closed(text, ends_block=False)

    def end_block(self, text: str) -> str:
        """Return the rest, and begin a line. A block may be an order, and so may all of them together."""
        shown = self._closed(text, ends_block=True)
        self._block, self._before, self._first, self._silent, self._mark = [], "", True, True, ""
        return shown

    def _closed(self, text: str, *, ends_block: bool) -> str:
        shown = self._read(text, last=True, ends_block=ends_block)
        block, whole = "".join(self._block), "".join(self._told)
        return shown + WORD_JOINER if json_order(block) or json_order(whole) else shown

    def _read(self, text: str, *, last: bool, ends_block: bool = False) -> str:
        text, self._held = self._before + self._held + text, ""
        read = marked(text)
        done = seen = len(self._before)
        shown: list[str] = []
        for place in _INITIAL.finditer(text, seen):
            start = place.start()
            if start < done:
                continue
            found = _WORD.match(read, start)
            if not found and not (_BEGUN.match(read, start) and (ends_block or not last)):
                continue
            self._pass(text, seen, start)
            seen = start
            # What begins at the end of a block may go on in the next: OpenClaw reads them together as well.
            verdict = self._verdict(text, found, last=last) if found else ("order" if last else "wait")
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
        word, start, end = found[0].replace(NOTHING, "").lower(), found.start(), found.end()
        if word.endswith(CUT):
            return "order"
        if word == ATTACHMENT:
            return "order" if self._first else "text"
        if word == ACKNOWLEDGEMENT:
            # A space as an entity may stand before it.
            if self._mark == ";":
                return "order"
            exact = found[0].replace(NOTHING, "") == ACKNOWLEDGEMENT.upper()
            return self._at_end(text, _BEHIND_ACKNOWLEDGEMENT.match(text, end), exact, last=last)
        if word in SILENCES:
            apart = bool(_BEFORE_SILENCE.match(text, start - 1)) if start else False
            return self._at_end(text, _BEHIND_SILENCE.match(text, end), apart, last=last)
        begins = self._first and (self._silent or self._tagged)
        return "order" if begins else "text"

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
