"""What a response says and does, before it is put on the wire."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from demo.scripted.script import Cut, Fail, Sleep
from demo.scripted.tokens import count_text


@dataclass(frozen=True)
class Reasoning:
    """Text for `reasoning_content`."""

    text: str


@dataclass(frozen=True)
class Text:
    """Text for `content`."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """One of the `tool_calls`."""

    index: int
    id: str
    name: str
    arguments: str


Piece = Reasoning | Text | ToolCall | Sleep | Fail | Cut


@dataclass(frozen=True)
class Answer:
    """A whole response. `delay` is the time before its headers, in seconds; `delta` the characters of a delta.

    `writes` are the manners in which it is written (`quirks.WRITTEN`).
    """

    pieces: Sequence[Piece]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    delay: float = 0
    delta: int | None = None
    writes: frozenset[str] = frozenset()

    @property
    def content(self) -> str | None:
        """The text, None where there is none."""
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Text)) or None

    @property
    def reasoning(self) -> str | None:
        """The reasoning, None where there is none."""
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Reasoning)) or None

    @property
    def calls(self) -> list[ToolCall]:
        """The calls, in order."""
        return [piece for piece in self.pieces if isinstance(piece, ToolCall)]

    @property
    def usage(self) -> dict[str, object]:
        """The usage in OpenAI's shape."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": count_text(self.reasoning or ""), "audio_tokens": 0},
        }


def length_of(pieces: Iterable[Piece]) -> int:
    """Characters of text and of arguments."""
    return sum(len(_words(piece)) for piece in pieces)


def shorten(pieces: Iterable[Piece], length: int) -> list[Piece]:
    """The pieces up to that many characters; the one in which the end falls is cut off there."""
    kept: list[Piece] = []
    for piece in pieces:
        if length <= 0:
            break
        if isinstance(piece, ToolCall):
            kept.append(replace(piece, arguments=piece.arguments[:length]))
        elif isinstance(piece, Text | Reasoning):
            kept.append(replace(piece, text=piece.text[:length]))
        else:
            kept.append(piece)
        length -= len(_words(piece))
    return kept


def _words(piece: Piece) -> str:
    if isinstance(piece, ToolCall):
        return piece.arguments
    return piece.text if isinstance(piece, Text | Reasoning) else ""
