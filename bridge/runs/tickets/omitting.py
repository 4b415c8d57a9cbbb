"""What of a long transcript the plugin is not sent again, since it has it from an answer before, by its digest.

The plugin repeats the digests that it was told with that answer. What it gets, it gets of the run that it attached to:
the digests only say which of that is left out.
"""

from collections.abc import Sequence
from itertools import pairwise

from bridge.runs.transcripts import digests_of, grown, pieces_of
from bridge.store.exchanges import Piece, digest_of
from tools.results import Message
from tools.wire import Digests, Part

SHORT = 8 * 1024
"""A transcript of so many characters is sent whole."""


def said_with(messages: Sequence[Message], tools: Piece) -> Digests | None:
    """Return what the plugin says if it still has all of this when it attaches next; None where that is little."""
    characters = _characters(messages) + len(tools[1])
    if characters < SHORT:
        return None
    # A part is as long as all before it: what changes at the end, where most does, changes no long one.
    ends = [0, *(2**n for n in range(len(messages).bit_length()) if 2**n < len(messages)), len(messages)]
    parts = [digests_of(messages)[begin:end] for begin, end in pairwise(ends) if begin < end]
    digests = [Part(count=len(part), digest=_digest(part)) for part in parts]
    return Digests(messages=digests, tools=tools[0], characters=characters)


def unknown(messages: Sequence[Message], has: Digests) -> tuple[list[Message], list[int]]:
    """Return the messages that the plugin does not have, and the numbers of the parts that it has in their places."""
    new: list[Message] = []
    omitted: list[int] = []
    digests, begin = digests_of(messages), 0
    for number, had in enumerate(has.messages):
        part = slice(begin, begin := begin + had.count)
        if len(digests[part]) == had.count and _digest(digests[part]) == had.digest:
            omitted.append(number)
        else:
            new += messages[part]
    return [*new, *messages[begin:]], omitted


def _digest(digests: Sequence[str]) -> str:
    return digest_of("".join(digests))


@grown(0)
def _characters(before: int, messages: Sequence[Message], count: int) -> int:
    return before + sum(len(body) for _, body in pieces_of(messages)[count:])
