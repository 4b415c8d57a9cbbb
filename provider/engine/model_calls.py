"""What the bridge is told of an invocation's calls of its model, for who watches the run."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from provider.engine.events import Asked
from tools.results import Message
from tools.wire import ModelCall, Usage

MOST_CHARACTERS = 1_000_000
"""So much of one call's messages is told: what is longer loses its beginning."""


class ModelCalls:
    """The calls that the bridge has not been told of. `whole` says whether it wants to know what they held.

    `prices` are of a million tokens, of a prompt and of an answer, and their currency.
    """

    def __init__(self, prices: tuple[Decimal, Decimal, str]) -> None:
        self.whole = False
        self._prices = prices
        self._waiting: list[tuple[float, ModelCall]] = []
        self._number = 0
        self._messages: Sequence[Message] = ()
        self._tools: Any = None

    def add(
        self, asked: Sequence[Asked], round_: int, now: float, usage: Usage | None = None, finish_reason: str = ""
    ) -> None:
        """Note requests, of which the last ended now, and so."""
        for each in asked:
            last = each is asked[-1]
            told = ModelCall(
                number=self._number,
                round=round_,
                seconds=each.seconds,
                usage=usage if last else None,
                price=self._price(usage) if last and usage else "",
                finish_reason=finish_reason if last else "",
                error=each.error,
                status=each.status,
                lesson=each.lesson,
                left_out=list(each.left_out),
            )
            self._waiting.append((now, self._with_request(told, each.body) if self.whole else told))
            self._number += 1

    def _price(self, usage: Usage) -> str:
        prompt, answer, currency = self._prices
        price = (usage.prompt_tokens * prompt + usage.completion_tokens * answer) / 1_000_000
        return f"{price.normalize():f} {currency}" if price else ""

    def take(self, now: float) -> list[ModelCall]:
        """Return what has not been told."""
        taken, self._waiting = self._waiting, []
        return [call.model_copy(update={"ago": now - at}) for at, call in taken]

    def _with_request(self, told: ModelCall, body: dict[str, Any]) -> ModelCall:
        messages, tools = body.get("messages") or [], body.get("tools")
        pairs = enumerate(zip(messages, self._messages, strict=False))
        before = next((at for at, (one, other) in pairs if one != other), min(len(messages), len(self._messages)))
        room = MOST_CHARACTERS
        for at in range(len(messages) - 1, before - 1, -1):
            room -= len(json.dumps(messages[at]))
            if room < 0:
                before = at + 1
                break
        request = body | {"messages": messages[before:]} if "messages" in body else dict(body)
        if tools == self._tools:
            request.pop("tools", None)
        self._messages, self._tools = messages, tools
        return told.model_copy(update={"before": before, "request": request})
