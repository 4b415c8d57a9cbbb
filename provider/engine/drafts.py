"""What the client has been told of calls that are still being written, and what that obliges to.

What was told cannot be taken back. Where a response is given up after a call was begun, because it broke off or the
call turned out to be unsound, the next one has to make a call that begins alike, or the run fails.
"""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from tools.calls import Draft, ToolCall, arguments_of
from tools.wire import DraftDelta


class Drafting:
    """The drafts of one round that were told."""

    def __init__(self) -> None:
        self._told: dict[str, Draft] = {}
        self._owed: list[Draft] = []

    def __bool__(self) -> bool:
        """Say whether a call was begun that has to be finished."""
        return bool(self._told or self._owed)

    def news(self, drafts: Iterable[Draft], offered: Collection[str]) -> list[DraftDelta]:
        """Return what is to be told of `drafts`; nothing while an earlier response left a call to be finished.

        A call is told from its first sound character on: one that is unsound from its beginning obliges to nothing.
        """
        deltas: list[DraftDelta] = []
        for draft in drafts if not self._owed else ():
            told = self._told.get(draft.id)
            if draft.name not in offered:
                continue
            if draft.arguments and told != draft:
                offset = len(told.arguments) if told else 0
                piece = draft.arguments[offset:]
                deltas.append(DraftDelta(id=draft.id, name=draft.name, offset=offset, arguments=piece))
                self._told[draft.id] = draft
            # OpenAI's SDKs take a call for whole once another one begins.
            if not draft.complete:
                break
        return deltas

    def give_up(self) -> None:
        """The response in which these were told is not the one that counts."""
        self._owed += self._told.values()
        self._told.clear()

    def fitting(self, call: ToolCall, arguments: str) -> str | None:
        """Return mended arguments as they go on from what was told of a call, None where they cannot."""
        told = self._told.get(call.id)
        drafts = [told] if told else [draft for draft in self._owed if draft.name == call.name]
        found = (continued(draft.arguments, arguments) for draft in drafts)
        return next((text for text in found if text is not None), None) if drafts else arguments

    def settle(self, calls: Sequence[ToolCall]) -> list[ToolCall] | None:
        """Return `calls` under the ids that were told, or None where a call that was begun is not among them."""
        settled = {call.id: call for call in calls}
        free = [call for call in calls if call.id not in self._told]
        for draft in [*self._owed, *(draft for draft in self._told.values() if draft.id not in settled)]:
            match = next((call for call in free if _begins_alike(call, draft)), None)
            if match is None:
                return None
            free.remove(match)
            settled[match.id] = match.model_copy(update={"id": draft.id})
        self._told.clear()
        self._owed.clear()
        return [settled[call.id] for call in calls]


_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*+"?|[{}\[\],:]|[^\s{}\[\],:"]+)', re.DOTALL)


def continued(told: str, arguments: str) -> str | None:
    """Return a JSON text that means what `arguments` mean and begins with `told`, None where there is none."""
    if arguments.startswith(told):
        return arguments
    value = json.loads(arguments)
    tokens, heard = _TOKEN.findall(json.dumps(value, ensure_ascii=False)), _TOKEN.findall(told)
    if len(heard) > len(tokens) or any(map(_differ, heard[:-1], tokens)):
        return None
    last = tokens[len(heard) - 1]
    rest = "" if not _differ(heard[-1], last) else _rest_of(heard[-1], last)
    text = None if rest is None else told + rest + "".join(tokens[len(heard) :])
    return text if text is not None and arguments_of(text) == value else None


def _differ(one: str, other: str) -> bool:
    return one != other and (_read(one) is None or _read(one) != _read(other))


def _read(token: str) -> Any:
    try:
        return json.loads(token)
    except ValueError:
        return None


def _rest_of(begun: str, token: str) -> str | None:
    """Return how a string that was begun goes on."""
    start, text = _read(f'{begun}"'), _read(token)
    goes_on = isinstance(start, str) and isinstance(text, str) and text.startswith(start)
    return json.dumps(text[len(start) :], ensure_ascii=False)[1:] if goes_on else None


def _begins_alike(call: ToolCall, draft: Draft) -> bool:
    return call.name == draft.name and call.arguments.startswith(draft.arguments)
