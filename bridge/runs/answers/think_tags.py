"""Reasoning that stands in think tags before an answer, as Dify's LLM nodes pass it on, wherever the stream is cut.

Each character is looked at a fixed number of times: what is held back is a run of white space, which is kept in the
pieces that it came in, or less than a tag.
"""

import re

_OPENING = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_BEGUN_OPENING = re.compile(r"<(?:t(?:h(?:i(?:n(?:k(?:i(?:ng?)?)?)?)?)?)?)?\Z", re.IGNORECASE)
_CLOSING = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_BEGUN_CLOSING = re.compile(r"<(?:/(?:t(?:h(?:i(?:n(?:k(?:i(?:ng?)?)?)?)?)?)?)?)?\Z", re.IGNORECASE)
_LONGEST_BEGUN = len("</thinking")


class ThinkTags:
    """Takes one node's text apart into reasoning and answer.

    Only what stands before the answer is reasoning: an answer may speak of the tags.
    """

    def __init__(self) -> None:
        self._state = "before"
        self._space: list[str] = []
        self._breaks = 0
        self._tag = ""
        self._thought = False

    def feed(self, text: str) -> tuple[str, str]:
        """Take a piece and return what of it is reasoning and what is answer by now."""
        reasoning = ""
        if self._state == "before":
            text = self._before(text)
        if self._state == "thinking":
            reasoning, text = self._thinking(text)
        if self._state == "after":
            # White space between the reasoning and the answer is not the answer's.
            text = text.lstrip()
            self._state = "answering" if text else "after"
        return reasoning, text

    def close(self) -> tuple[str, str]:
        """Return what was held back, once nothing more comes."""
        thinking, self._state = self._state == "thinking", "answering"
        tag, self._tag = self._tag, ""
        if thinking:
            return ("\n" * self._breaks + tag if tag else ""), ""
        return "", self._spaces() + tag

    def _spaces(self) -> str:
        spaces, self._space = "".join(self._space), []
        return spaces

    def _before(self, text: str) -> str:
        """Return what stands behind the opening tag, or the answer where none can come any more."""
        begun = self._tag + text if self._tag else text.lstrip()
        if not self._tag:
            self._space.append(text[: len(text) - len(begun)])
        opening = _OPENING.match(begun)
        if opening:
            self._state, self._tag, self._space = "thinking", "", []
            return begun[opening.end() :]
        if not begun or _BEGUN_OPENING.match(begun):
            self._tag = begun
            return ""
        self._state, self._tag = "answering", ""
        return self._spaces() + begun

    def _thinking(self, text: str) -> tuple[str, str]:
        """Return what is reasoning by now, and what stands behind the closing tag."""
        text, self._tag = self._tag + text, ""
        if not self._thought:
            text = text.lstrip("\n")
        self._thought = self._thought or bool(text)
        closing = _CLOSING.search(text)
        if closing:
            self._state = "after"
            return self._without_breaks_at_end(text[: closing.start()]), text[closing.end() :]
        begun = _BEGUN_CLOSING.search(text, max(0, len(text) - _LONGEST_BEGUN))
        if begun:
            text, self._tag = text[: begun.start()], begun[0]
        return self._without_breaks_at_end(text), ""

    def _without_breaks_at_end(self, text: str) -> str:
        """Return the text behind the line breaks that were held back; those at its end wait for what follows them."""
        said = text.rstrip("\n")
        if not said:
            self._breaks += len(text)
            return ""
        before, self._breaks = "\n" * self._breaks, len(text) - len(said)
        return before + said
