"""A model's reasoning, as Dify shows it: in one `<think>` block before the answer."""


class ThinkBlock:
    """Wraps streamed reasoning in `<think>` tags; what follows it is the answer."""

    def __init__(self) -> None:
        self._open = False

    def feed(self, reasoning: str, text: str) -> str:
        """Take a delta's reasoning and text and return the text to show."""
        shown = ""
        if reasoning:
            shown = reasoning if self._open else f"<think>\n{reasoning}"
            self._open = True
        return shown + self.close() + text if text else shown

    def close(self) -> str:
        """Return the closing tag where one is missing."""
        if not self._open:
            return ""
        self._open = False
        return "\n</think>\n\n"
