"""Reasoning that a model writes into its answer, in tags before it, wherever the stream is cut."""

TAGS = {"<think>": "</think>", "<thinking>": "</thinking>", "<thought>": "</thought>", "[THINK]": "[/THINK]"}


class ThinkTags:
    """Takes an answer apart into reasoning and text. Only what stands before the answer is reasoning.

    An answer may speak of the tags; what comes after its first other word is text.
    """

    def __init__(self) -> None:
        self._held = ""
        self._closing: str | None = None
        self._spoken = False
        self._thought = False
        self._answering = False

    def feed(self, text: str) -> tuple[str, str]:
        """Take a piece of the answer and return what of it is reasoning and what is text by now."""
        if self._answering:
            return "", text
        self._held += text
        return self._reasoning() if self._closing else self._before()

    def close(self) -> tuple[str, str]:
        """Return what was held back."""
        held, self._held = self._held, ""
        self._answering = True
        if self._closing:
            return held.rstrip("\n"), ""
        return "", held.lstrip("\n") if self._thought else held

    def _before(self) -> tuple[str, str]:
        begun = self._held.lstrip()
        for opening, closing in TAGS.items():
            if begun.startswith(opening):
                self._held, self._closing = begun[len(opening) :], closing
                self._spoken = False
                return self._reasoning()
        if any(opening.startswith(begun) for opening in TAGS):
            return "", ""
        return self.close()

    def _reasoning(self) -> tuple[str, str]:
        closing = self._closing or ""
        if not self._spoken:
            self._held = self._held.lstrip("\n")
        reasoning, found, rest = self._held.partition(closing)
        if not found:
            said = _before_the_end(self._held, closing)
            self._held = self._held[len(said) :]
            self._spoken = self._spoken or bool(said)
            return said, ""
        self._held, self._closing, self._thought = rest, None, True
        more, text = self._before()
        return reasoning.rstrip("\n") + more, text


def _before_the_end(text: str, tag: str) -> str:
    """Return `text` without what may turn out to be the tag's beginning, and the line breaks before it."""
    begun = next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)
    return text[: len(text) - begun].rstrip("\n")


def without_think_block(text: str) -> str:
    """Return an earlier answer without the reasoning before it: no model wants to read it again."""
    tags = ThinkTags()
    (_, first), (_, last) = tags.feed(text), tags.close()
    return first + last
