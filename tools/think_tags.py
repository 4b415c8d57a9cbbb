"""Reasoning that stands in tags before an answer, as models write it and Dify passes it on, wherever the stream is cut.

Each character is looked at a fixed number of times: what is held back is a run of white space, which is kept in the
pieces that it came in, or less than a tag.
"""

import re

TAGS = {"<think>": "</think>", "<thinking>": "</thinking>", "<thought>": "</thought>", "[THINK]": "[/THINK]"}
"""Each in any case."""

_LONGEST = max(map(len, TAGS))
_CLOSING = {closing: re.compile(re.escape(closing), re.IGNORECASE) for closing in TAGS.values()}


class ThinkTags:
    """Takes an answer apart into reasoning and text. Only what stands before the answer is reasoning.

    An answer may speak of the tags; what comes after its first other word is text.
    """

    def __init__(self) -> None:
        self._space: list[str] = []
        self._tag = ""
        self._breaks = 0
        self._closing: str | None = None
        self._spoken = False
        self._thought = False
        self._answering = False

    def feed(self, text: str) -> tuple[str, str]:
        """Take a piece of the answer and return what of it is reasoning and what is text by now."""
        if self._answering:
            return "", text
        reasoning: list[str] = []
        text, self._tag = self._tag + text, ""
        at = 0
        while at < len(text) and not self._answering:
            if self._closing:
                said, at = self._reasoning(text, at, self._closing)
                reasoning.append(said)
            else:
                at = self._before(text, at)
        return "".join(reasoning), self._spaces() + text[at:] if self._answering else ""

    def close(self) -> tuple[str, str]:
        """Return what was held back."""
        tag, self._tag = self._tag, ""
        self._answering = True
        if self._closing:
            return ("\n" * self._breaks + tag if tag else ""), ""
        return "", self._spaces() + tag

    def _spaces(self) -> str:
        """Return the white space before the answer; behind reasoning, line breaks are not the answer's."""
        spaces, self._space = "".join(self._space), []
        return spaces.lstrip("\n") if self._thought else spaces

    def _before(self, text: str, at: int) -> int:
        """Read up to behind an opening tag, or up to the answer."""
        begun = next((place for place in range(at, len(text)) if not text[place].isspace()), len(text))
        self._space.append(text[at:begun])
        head = text[begun : begun + _LONGEST].lower()
        for opening, closing in TAGS.items():
            if head.startswith(opening.lower()):
                self._closing, self._spoken, self._breaks, self._space = closing, False, 0, []
                return begun + len(opening)
        if len(text) - begun < _LONGEST and any(opening.lower().startswith(head) for opening in TAGS):
            self._tag = text[begun:]
            return len(text)
        self._answering = True
        return begun

    def _reasoning(self, text: str, at: int, closing: str) -> tuple[str, int]:
        """Read up to behind the closing tag, or to the end; return what of it is reasoning by now."""
        end = _CLOSING[closing].search(text, at)
        if end:
            self._closing, self._thought = None, True
            return self._without_breaks_at_either_end(text[at : end.start()]), end.end()
        self._tag = _begun_at_end(text[at:], closing)
        return self._without_breaks_at_either_end(text[at : len(text) - len(self._tag)]), len(text)

    def _without_breaks_at_either_end(self, text: str) -> str:
        """Return the text behind the line breaks that were held back; those at its end wait for what follows them."""
        text = text if self._spoken else text.lstrip("\n")
        said = text.rstrip("\n")
        if not said:
            self._breaks += len(text)
            return ""
        before, self._breaks, self._spoken = "\n" * self._breaks, len(text) - len(said), True
        return before + said


def _begun_at_end(text: str, tag: str) -> str:
    """Return what may turn out to be the tag's beginning."""
    sizes = range(min(len(tag) - 1, len(text)), 0, -1)
    return next((text[-size:] for size in sizes if text[-size:].lower() == tag[:size].lower()), "")
