"""Reasoning that stands in think tags before an answer, as Dify's LLM nodes pass it on, wherever the stream is cut."""

import re

_OPENING = re.compile(r"\s*<think(?:ing)?>\n*", re.IGNORECASE)
_BEGUN_OPENING = re.compile(r"\s*(?:<(?:t(?:h(?:i(?:n(?:k(?:i(?:ng?)?)?)?)?)?)?)?)?\Z", re.IGNORECASE)
_CLOSING = re.compile(r"\n*</think(?:ing)?>\s*", re.IGNORECASE)
_BEGUN_CLOSING = re.compile(
    r"\n*(?:<(?:/(?:t(?:h(?:i(?:n(?:k(?:i(?:ng?)?)?)?)?)?)?)?)?)?\Z",
    re.IGNORECASE,
)


class ThinkTags:
    """Takes one node's text apart into reasoning and answer.

    Only what stands before the answer is reasoning: an answer may speak of the tags.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state = "before"
        self._thought = False

    def feed(self, text: str) -> tuple[str, str]:
        """Take a piece and return what of it is reasoning and what is answer by now."""
        self._held += text
        reasoning = answer = ""
        if self._state == "before":
            answer = self._before()
        if self._state == "thinking":
            reasoning = self._thinking()
        if self._state == "after":
            # White space between the reasoning and the answer is not the answer's.
            self._held = self._held.lstrip()
            self._state = "answering" if self._held else "after"
        if self._state == "answering":
            answer, self._held = answer + self._held, ""
        return reasoning, answer

    def close(self) -> tuple[str, str]:
        """Return what was held back, once nothing more comes."""
        held, self._held = self._held, ""
        thinking, self._state = self._state == "thinking", "answering"
        return (held.rstrip("\n"), "") if thinking else ("", held)

    def _before(self) -> str:
        opening = _OPENING.match(self._held)
        if opening:
            self._held, self._state = self._held[opening.end() :], "thinking"
        elif not _BEGUN_OPENING.match(self._held):
            self._state = "answering"
        return ""

    def _thinking(self) -> str:
        if not self._thought:
            self._held = self._held.lstrip("\n")
        self._thought = self._thought or bool(self._held)
        closing = _CLOSING.search(self._held)
        if closing:
            reasoning, self._held = self._held[: closing.start()], self._held[closing.end() :]
            self._state = "after"
            return reasoning
        begun = _BEGUN_CLOSING.search(self._held)
        end = begun.start() if begun else len(self._held)
        reasoning, self._held = self._held[:end], self._held[end:]
        return reasoning
