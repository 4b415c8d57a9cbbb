"""Text is not an order: what OpenClaw would take as one to itself is shown as text.

OpenClaw takes a line `MEDIA:<path or URL>` for an attachment to send, an answer that is only `NO_REPLY` or
`HEARTBEAT_OK` for silence, and `[[reply_to_current]]`, `[[reply_to: id]]` and `[[audio_as_voice]]` for how to send.
Source: OpenClaw 2026.9.6.
"""

import re

from tools.openclaw_text.guard import WORD_JOINER

_AT_LINE_START = ("MEDIA:", "NO_REPLY", "HEARTBEAT_OK")
_TAG = re.compile(r"\[\[(?=\s*(?:reply_to|audio_as_voice))", re.IGNORECASE)
_TAG_NAMES = ("reply_to", "audio_as_voice")
_BEGUN_TAG = re.compile(r"\[(?:\[\s*\w*)?\Z")
_MOST_HELD = 64


class OrderGuard:
    """Passes a stream of answer text through and puts a `WORD_JOINER` into each order.

    What cannot be an order is not delayed, and the output does not depend on how the text is cut.
    """

    def __init__(self) -> None:
        self._word: str | None = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece of text and return what is safe to show by now."""
        lines = text.split("\n")
        shown = [self._line(lines[0])]
        for line in lines[1:]:
            shown += [self._end_line(), "\n", self._line(line)]
        return self._tags("".join(shown))

    def close(self) -> str:
        """End the stream and return what was still held back."""
        return self._tags(self._end_line(), last=True)

    def _end_line(self) -> str:
        held, self._word = self._word or "", ""
        return held

    def _line(self, piece: str) -> str:
        """Pass on a piece of a line. What stands before its first word does not matter."""
        if self._word is None or not piece:
            return piece
        before = ""
        if not self._word:
            first = re.search(r"\w", piece)
            if first is None:
                return piece
            before, piece = piece[: first.start()], piece[first.start() :]
        word = self._word + piece
        if any(order.startswith(word.upper()) and len(word) < len(order) for order in _AT_LINE_START):
            self._word = word
            return before
        self._word = None
        if word.upper().startswith(_AT_LINE_START):
            word = word[0] + WORD_JOINER + word[1:]
        return before + word

    def _tags(self, text: str, *, last: bool = False) -> str:
        text, self._held = self._held + text, ""
        begun = None if last else _BEGUN_TAG.search(text)
        if begun and len(begun[0]) < _MOST_HELD and _may_be_tag(begun[0]):
            text, self._held = text[: begun.start()], begun[0]
        return _TAG.sub(f"[{WORD_JOINER}[", text)


def _may_be_tag(begun: str) -> bool:
    name = begun.lstrip("[").strip().lower()
    return any(tag.startswith(name) for tag in _TAG_NAMES)
