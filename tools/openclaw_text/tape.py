"""Text that is still being written, read by a grammar that waits for more of it."""

from __future__ import annotations

import re
from collections.abc import Generator

from tools.openclaw_text.openers import Found, Token

#: A piece of grammar. It yields when it needs more text: a pattern when only a match of it is worth waking up for, else
#: None. It is sent the next text, or None when there is none.
type Steps[Result] = Generator[re.Pattern[str] | None, str | None, Result]

#: How often, on the average, a character may be read again because it was not what it seemed, and how many may be.
AGAIN_CAP = 8
REREAD_CAP = 512_000

_SPACE = re.compile(r"\s*")


class TooLongError(Exception):
    """What is being read has outgrown what a call may hold."""


class Tape:
    """The unread text, and behind it as much of the read text as a grammar may want back.

    `text[at:]` is what has come and is not read yet. A grammar moves `at` and calls `more` at the end of the text.
    Between `hold` and `release` everything read is kept, so that `rewind` can go back; at most `most` characters.
    """

    __slots__ = ("_base", "_furthest", "_holds", "_kept", "_limit", "_most", "_reread", "_rest", "at", "ended", "text")

    def __init__(self, most: int) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self._base = 0
        self._most = most
        self._holds = 0
        self._kept: list[str] = []
        self._limit = 0
        self._rest = ""
        self._furthest = 0
        self._reread = 0

    @property
    def position(self) -> int:
        """How many characters have been read since the beginning."""
        return self._base + self.at

    def more(self, wake: re.Pattern[str] | None = None) -> Steps[bool]:
        """Drop what is read and wait for more. False when the text has ended."""
        if self._rest:
            raise TooLongError
        if self.ended:
            return False
        at, text = self.at, self.text
        if self._holds:
            if self._base + len(text) >= self._limit:
                raise TooLongError
            if at:
                self._kept.append(text[:at])
        self._base += at
        delta = yield wake
        self.at = 0
        if delta is None:
            self.ended = True
            self.text = text[at:]
            return False
        self.text = text[at:] + delta if at < len(text) else delta
        if self._holds:
            self._cut_off()
        return True

    @property
    def spent(self) -> bool:
        """Whether so much was read again that `try_again` goes back no more."""
        return self._reread > min(AGAIN_CAP * self._furthest, REREAD_CAP)

    def peek(self) -> Steps[str]:
        """Skip white space and return the next character, or nothing at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not (yield from self.more()):
                return ""

    def token(self, token: Token) -> Steps[Found | None]:
        """Read a token if it stands here, waiting while it may yet."""
        while True:
            if found := token.at(self.text, self.at):
                self.at += len(found.text)
                return found
            if not token.may_stand(self.text, self.at) or not (yield from self.more()):
                return None

    def hold(self) -> int:
        """Keep what is read from here on and return the position. Holds may be nested."""
        if not self._holds:
            self._kept = []
            self._limit = self.position + self._most
            self._cut_off()
        self._holds += 1
        return self.position

    def release(self) -> None:
        """End the innermost hold."""
        self._holds -= 1
        if not self._holds:
            self._kept = []
            self.text += self._rest
            self._rest = ""

    def since(self, position: int) -> str:
        """Return what was read since `position`, which must be held."""
        if position >= self._base:
            return self.text[position - self._base : self.at]
        pieces, base = [self.text[: self.at]], self._base
        for piece in reversed(self._kept):
            base -= len(piece)
            pieces.append(piece[max(0, position - base) :])
            if base <= position:
                break
        return "".join(reversed(pieces))

    def rewind(self, position: int) -> None:
        """Go back to `position`, which must be held."""
        pieces = [self.text]
        while position < self._base:
            piece = self._kept.pop()
            self._base -= len(piece)
            pieces.append(piece)
        if len(pieces) > 1:
            self.text = "".join(reversed(pieces))
        self.at = position - self._base

    def try_again(self, position: int) -> bool:
        """Rewind to read in another way; false, and nothing moves, where that is `spent`."""
        self._furthest = max(self._furthest, self.position)
        self._reread += self.position - position
        if not self.spent:
            self.rewind(position)
        return not self.spent

    def _cut_off(self) -> None:
        beyond = self._limit - self._base
        if len(self.text) > beyond:
            self._rest = self.text[beyond:]
            self.text = self.text[:beyond]
