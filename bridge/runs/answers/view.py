"""How an app's text is shown to a client: its reasoning apart, and what a client would act on made inert."""

from typing import Literal

from bridge.config import App
from bridge.errors import BridgeError
from bridge.runs.answers.guards import Chain, DataGuard, Guard
from bridge.runs.requests import RunRequest
from bridge.runs.segments import Reasoning, Text
from bridge.runs.sessions.openclaw import is_from_openclaw
from tools.think_tags import ThinkTags

Guarded = Literal["all", "calls", "nothing"]
Form = Literal["text", "data", "checked_data"]
"""What an answer is: text, or data that is never changed; data is checked where its client may be OpenClaw."""


class AnswerView:
    """Shows the text of one response, piece by piece."""

    def __init__(self, *, guarded: Guarded = "all", reasoning_apart: bool = True, form: Form = "text") -> None:
        self._guard = _guard_of(guarded, form)
        self._reasoning_apart = reasoning_apart
        self._tags = ThinkTags()
        self._node = ""
        # To end a block looks at all of it, and reasoning may come in thousands of pieces.
        self._block = False

    def feed(self, text: str, node_id: str = "") -> list[Text | Reasoning]:
        """Take a piece that this node wrote, and return what is shown of it by now."""
        if not self._reasoning_apart:
            return self._text(text)
        before: list[Text | Reasoning] = []
        if node_id != self._node:
            # Each node's reasoning stands before its own text.
            before = self._show(*self._tags.close())
            self._tags, self._node = ThinkTags(), node_id
        return [*before, *self._show(*self._tags.feed(text))]

    def reasoning(self, text: str) -> list[Text | Reasoning]:
        """Take a piece of reasoning that came apart from the text, and return what is shown by now."""
        if not self._block:
            return [Reasoning(text)]
        self._block = False
        return [*_texts(self._guard.end_block()), Reasoning(text)]

    def close(self) -> list[Text | Reasoning]:
        """Return what was still held back, once nothing more comes."""
        shown = self._show(*self._tags.close())
        return [*shown, *_texts(self._guard.close())]

    @property
    def refusal(self) -> BridgeError | None:
        """Why the response must not be told to its end: asked before `close`, once nothing more comes."""
        return self._guard.refusal

    def _show(self, reasoning: str, text: str) -> list[Text | Reasoning]:
        told = self.reasoning(reasoning) if reasoning else []
        return [*told, *self._text(text)]

    def _text(self, text: str) -> list[Text | Reasoning]:
        self._block = self._block or bool(text)
        return _texts(self._guard.feed(text))


def _guard_of(guarded: Guarded, form: Form) -> Guard:
    if guarded == "nothing" or form == "data":
        return Chain(())
    return DataGuard(guarded) if form == "checked_data" else Chain.of(guarded)


def view_of(app: App | None, auxiliary: str | None, form: Form = "text") -> AnswerView:
    """Return the view that an app's configuration asks for. OpenClaw's own calls are answered with orders."""
    guard_text = app.guard_text if app else True
    guarded: Guarded = "nothing" if guard_text is False else "calls" if guard_text == "calls" or auxiliary else "all"
    apart = app is None or app.reasoning == "separate"
    return AnswerView(guarded=guarded, reasoning_apart=apart, form=form)


def form_of(request: RunRequest) -> Form:
    """Return what a run's answer is, by what its client asked for."""
    if "response_format" not in request.parameters:
        return "text"
    return "checked_data" if request.tools or is_from_openclaw(request.messages) else "data"


def _texts(text: str) -> list[Text | Reasoning]:
    return [Text(text)] if text else []
