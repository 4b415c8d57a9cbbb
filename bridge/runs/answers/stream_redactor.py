"""Takes texts out of a stream that the client gets in another form."""


class Withheld:
    """Passes text through without the texts that are withheld, wherever they stand and however they are cut.

    What may still become one of them waits until it is certain.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._held = ""

    def add(self, text: str) -> None:
        """Withhold `text` from now on."""
        self._texts.append(text)

    def feed(self, piece: str) -> str:
        """Take a piece and return what may be told by now."""
        if not self._texts:
            return piece
        told, self._held = self._held + piece, ""
        for text in self._texts:
            told = told.replace(text, "")
        held = max(_begun(told, text) for text in self._texts)
        if held:
            told, self._held = told[:-held], told[-held:]
        return told

    def close(self) -> str:
        """Return what waited: nothing follows that could complete it."""
        held, self._held = self._held, ""
        return held


def _begun(told: str, text: str) -> int:
    """Return how many characters at the end of `told` are the beginning of `text`."""
    return next((size for size in range(min(len(told), len(text) - 1), 0, -1) if told.endswith(text[:size])), 0)
