"""The long transcripts that bridges told last, so that they need not tell them again: each user's newest.

What is told again of them is always the run's own: the bridge says which parts of it are the same.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock

from tools.definitions import ToolDefinition
from tools.results import Message
from tools.wire import AttachResponse, Digests

MOST_CHARACTERS = 8_000_000

Of = tuple[str, ...]
"""Whose it is: a bridge, the token, and a user of Dify's."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What an answer to attach held."""

    digests: Digests = field(default_factory=Digests)
    messages: Sequence[Message] = field(default=(), repr=False)
    tools: Sequence[ToolDefinition] = field(default=(), repr=False)

    def completing(self, answer: AttachResponse) -> AttachResponse:
        """Return an answer with what it omits of this."""
        new, old = iter(answer.messages), iter(self.messages)
        whole: list[Message] = []
        for number, part in enumerate(self.digests.messages):
            had = list(islice(old, part.count))
            whole += had if number in answer.omits else islice(new, part.count)
        tools = list(self.tools) if answer.omits_tools else answer.tools
        return answer.model_copy(update={"messages": [*whole, *new], "tools": tools})


_kept: OrderedDict[Of, Transcript] = OrderedDict()
_lock = Lock()


def last(of: Of) -> Transcript:
    """Return what was told last, or nothing."""
    return _kept.get(of, Transcript())


def keep(of: Of, answer: AttachResponse) -> None:
    """Keep what was told, where the bridge would ask for it; those that were told longest ago make room."""
    if answer.digests is None:
        return
    with _lock:
        _kept[of] = Transcript(answer.digests, answer.messages, answer.tools)
        _kept.move_to_end(of)
        while sum(each.digests.characters for each in _kept.values()) > MOST_CHARACTERS:
            _kept.popitem(last=False)
