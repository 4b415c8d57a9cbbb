"""How an app's text is shown to a client: its reasoning apart, and what a client would act on made inert."""

from typing import Literal

from bridge.config import App
from bridge.runs.answers.think_tags import ThinkTags
from bridge.runs.segments import Reasoning, Text
from tools.openclaw_text.guard import TextGuard
from tools.openclaw_text.orders import OrderGuard

Guarded = Literal["all", "calls", "nothing"]


class AnswerView:
    """Shows the text of one response, piece by piece."""

    def __init__(self, *, guarded: Guarded = "all", reasoning_apart: bool = True) -> None:
        self._guards = {
            "all": (TextGuard(), OrderGuard()),
            "calls": (TextGuard(),),
            "nothing": (),
        }[guarded]
        self._reasoning_apart = reasoning_apart
        self._tags = ThinkTags()
        self._node = ""

    def feed(self, text: str, node_id: str = "") -> list[Text | Reasoning]:
        """Take a piece that this node wrote, and return what is shown of it by now."""
        if not self._reasoning_apart:
            return _shown("", self._guard(text))
        before = ("", "")
        if node_id != self._node:
            # Each node's reasoning stands before its own text.
            before, self._tags, self._node = self._tags.close(), ThinkTags(), node_id
        reasoning, answer = self._tags.feed(text)
        return [*_shown(before[0], self._guard(before[1])), *_shown(reasoning, self._guard(answer))]

    def close(self) -> list[Text | Reasoning]:
        """Return what was still held back, once nothing more comes."""
        reasoning, answer = self._tags.close()
        text = self._guard(answer)
        for position, guard in enumerate(self._guards):
            rest = guard.close()
            for later in self._guards[position + 1 :]:
                rest = later.feed(rest)
            text += rest
        return _shown(reasoning, text)

    def _guard(self, text: str) -> str:
        for guard in self._guards:
            text = guard.feed(text)
        return text


def view_of(app: App | None, auxiliary: str | None) -> AnswerView:
    """Return the view that an app's configuration asks for. OpenClaw's own calls are answered with orders."""
    guard_text = app.guard_text if app else True
    guarded: Guarded = "nothing" if guard_text is False else "calls" if guard_text == "calls" or auxiliary else "all"
    return AnswerView(guarded=guarded, reasoning_apart=app is None or app.reasoning == "separate")


def _shown(reasoning: str, text: str) -> list[Text | Reasoning]:
    told: list[Text | Reasoning] = [Reasoning(reasoning)] if reasoning else []
    return [*told, Text(text)] if text else told
