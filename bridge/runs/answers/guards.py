"""Nothing in an answer runs or orders anything at the client, and what it gets in another form leaves the stream."""

from typing import Literal, Protocol, Self

from bridge.errors import BridgeError, UnprocessableRun
from tools.openclaw_text.deeds import BLANKS
from tools.openclaw_text.guard import TextGuard
from tools.openclaw_text.orders import OrderGuard
from tools.openclaw_text.whole_answers import deed


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
        told, self._held = self.without(self._held + piece), ""
        held = max(_begun(told, text) for text in self._texts)
        if held:
            told, self._held = told[:-held], told[-held:]
        return told

    def without(self, text: str) -> str:
        """Return a whole text without them."""
        for withheld in self._texts:
            text = text.replace(withheld, "")
        return text

    def close(self) -> str:
        """Return what waited: nothing follows that could complete it."""
        held, self._held = self._held, ""
        return held


def _begun(told: str, text: str) -> int:
    """Return how many characters at the end of `told` are the beginning of `text`."""
    return next((size for size in range(min(len(told), len(text) - 1), 0, -1) if told.endswith(text[:size])), 0)


class Guard(Protocol):
    """Lets text through, changed or not."""

    def feed(self, text: str) -> str:
        """Take a piece and return what may be told by now."""
        ...

    def end_block(self) -> str:
        """Return what was held back: reasoning comes between, and for OpenClaw the text behind it begins anew."""
        ...

    def close(self) -> str:
        """Return what was held back, once nothing more comes."""
        ...

    @property
    def refusal(self) -> BridgeError | None:
        """Why the rest must not be told, once nothing more comes."""
        ...


class Chain:
    """Guards that change what would run or order something, one after the other. Without any, nothing changes."""

    refusal: BridgeError | None = None

    def __init__(self, guards: tuple[TextGuard | OrderGuard, ...]) -> None:
        self._guards = guards

    @classmethod
    def of(cls, guarded: Literal["all", "calls"]) -> Self:
        """Make the guards against calls, and against orders too where `guarded` is `all`."""
        return cls((TextGuard(), OrderGuard()) if guarded == "all" else (TextGuard(),))

    def feed(self, text: str) -> str:
        """Take a piece and return what may be told by now."""
        for guard in self._guards:
            text = guard.feed(text)
        return text

    def end_block(self) -> str:
        """Return what was held back, and begin anew."""
        text = ""
        for guard in self._guards:
            text = guard.feed(text) + guard.end_block()
        return text

    def close(self) -> str:
        """Return what was held back."""
        text = ""
        for guard in self._guards:
            text = guard.feed(text) + guard.close()
        return text


class DataGuard:
    """Changes nothing: data is told byte for byte, or not to its end.

    It is told as far as there is nothing in it that a guard would change. From there on it is held back until all of
    it is there, and so is its last character at any time: only then it can be said what OpenClaw would do with it.
    """

    def __init__(self, guarded: Literal["all", "calls"]) -> None:
        self._guarded = guarded
        self._chain = Chain.of(guarded)
        self._pieces: list[str] = []
        self._told = 0
        self._unsure = ""
        self._last: list[str] = []
        self._changes = False

    def feed(self, text: str) -> str:
        """Take a piece and return what may be told by now."""
        self._pieces.append(text)
        if self._changes:
            return ""
        passed = self._chain.feed(text)
        self._unsure += text
        self._changes = not self._unsure.startswith(passed)
        if self._changes:
            return ""
        self._unsure = self._unsure[len(passed) :]
        told = self._without_last(passed)
        self._told += len(told)
        return told

    def _without_last(self, text: str) -> str:
        """Return the text but for its last character and the blanks behind that, and before it what was kept so."""
        size = len(text.rstrip(BLANKS))
        if not size:
            self._last.append(text)
            return ""
        told, self._last = "".join(self._last) + text[: size - 1], [text[size - 1 :]]
        return told

    def end_block(self) -> str:
        """Data goes on behind reasoning, too."""
        return ""

    def close(self) -> str:
        """Return what was held back, unchanged."""
        return "".join(self._pieces)[self._told :]

    @property
    def refusal(self) -> BridgeError | None:
        """Why the rest must not be told: OpenClaw would act on the whole."""
        done = deed("".join(self._pieces))
        if done is None or (done == "order" and self._guarded == "calls"):
            return None
        what = "run it as a tool call" if done == "call" else "take it for an order"
        return UnprocessableRun(
            f"the app's answer was withheld: a structured answer is never changed, and OpenClaw would {what}; ask "
            "without response_format, or have the app answer with other data",
            code="answer_withheld",
        )
