"""What is made of a message, and of a whole transcript, once: clients send all that was said again with each request.

A transcript mostly begins with one that was here before. What was made of that one is gone on with: the messages that
were known are only seen to be the same.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import wraps
from operator import is_
from typing import Any, Concatenate
from weakref import WeakValueDictionary, ref

from bridge.store.exchanges import Piece, encoded, piece_of
from tools.results import Message

_OLDER = 3
"""So many shorter ones are known as well: a turn is asked for again by its beginning, and a client may try again."""

_KINDS = 32
"""So many things are kept of a transcript, some of them for each name that its conversation is given."""

_REMEMBERED = 16 * 2**20
"""So many characters of transcripts are remembered, some of them several times."""
_AROUND = 512
"""So many count for each message beside its JSON."""


class Said(dict[str, Any]):
    """A message of a client's, which nobody changes: what is made of it `once` is kept with it.

    In a transcript it has no markers any more. `comes_again` says that the same message of a later request will be this
    one. It leads to the transcript then that last ended with it, while that is remembered.
    """

    __slots__ = ("__weakref__", "comes_again", "ends", "made")

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.made: dict[Callable[[Message], Any], Any] = {}
        self.comes_again = False
        self.ends: Callable[[], Transcript | None] = _nothing


def _nothing() -> None:
    return None


def once[Made](make: Callable[[Message], Made]) -> Callable[[Message], Made]:
    """Make this of each message once."""

    @wraps(make)
    def made(message: Message) -> Made:
        # Mostly it is there: a transcript of a thousand messages asks for this some thousand times.
        try:
            return message.made[make]  # type: ignore[attr-defined,no-any-return]
        except (AttributeError, KeyError):
            found = make(message)
        if isinstance(message, Said):
            message.made[make] = found
        return found

    return made


_SAID: WeakValueDictionary[str, Said] = WeakValueDictionary()


def again(message: Message, among: WeakValueDictionary[str, Said] = _SAID) -> Said:
    """Return what says the same and was here before, if that is remembered, or else this, which will be here again."""
    said = message if isinstance(message, Said) else Said(message)
    said = among.setdefault(piece(said)[0], said)
    said.comes_again = True
    return said


def come_again(messages: Sequence[Message]) -> bool:
    """Say whether these messages will be here again."""
    return bool(messages) and isinstance(messages[0], Said) and messages[0].comes_again


class Transcript(list[Message]):
    """Messages that nobody changes, which begin with those `before`. `made` is what was made of so many of them.

    `size` is how many characters they count for.
    """

    __slots__ = ("__weakref__", "before", "made", "size")

    def __init__(self, messages: Sequence[Message], before: "Transcript | None") -> None:
        super().__init__(messages)
        self.before = before
        self.size: int = before.size if before is not None else 0
        self.made: dict[object, tuple[Any, int]] = {}
        if before is not None and len(before.made) < _KINDS:
            self.made.update(before.made)
        oldest: Transcript | None = self
        for _ in range(_OLDER):
            oldest = oldest.before if oldest is not None else None
        if oldest is not None:
            oldest.before = None

    def keep(self, what: object, made: object) -> None:
        """Keep what was made of the messages."""
        if len(self.made) >= _KINDS:
            self.made.clear()
        self.made[what] = made, len(self)


class _Transcripts:
    """The transcripts that were here last, but for those with which others of them begin."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Transcript] = OrderedDict()
        self._size = 0

    def of(self, messages: Sequence[Message]) -> Transcript:
        """Return these messages with what is known of them, or of how they begin."""
        if isinstance(messages, Transcript):
            return messages
        before = self._beginning(messages)
        if before is not None and len(before) == len(messages):
            return before
        transcript = Transcript(messages, before)
        new = transcript[len(before) if before is not None else 0 :]
        if new and all(isinstance(message, Said) and message.comes_again for message in new):
            self._keep(transcript, new)
        return transcript

    @staticmethod
    def _beginning(messages: Sequence[Message]) -> Transcript | None:
        """Find the longest transcript with which these begin."""
        if not come_again(messages):
            return None
        for end in range(len(messages), 0, -1):
            last = messages[end - 1]
            known = last.ends() if isinstance(last, Said) else None
            if known is not None and len(known) == end and all(map(is_, known, messages)):
                return known
        return None

    def _keep(self, transcript: Transcript, new: Sequence[Message]) -> None:
        transcript.size += sum(len(piece(message)[1]) + _AROUND for message in new)
        transcript[-1].ends = ref(transcript)  # type: ignore[attr-defined]
        if transcript.before is not None and (before := self._kept.pop(id(transcript.before), None)):
            self._size -= before.size
        self._kept[id(transcript)] = transcript
        self._size += transcript.size
        while self._kept and self._size > _REMEMBERED:
            _, forgotten = self._kept.popitem(last=False)
            self._size -= forgotten.size


transcript_of = _Transcripts().of


def grown[Made, **Rest](
    none: Made,
) -> Callable[
    [Callable[Concatenate[Made, Sequence[Message], int, Rest], Made]],
    Callable[Concatenate[Sequence[Message], Rest], Made],
]:
    """Make this of a transcript from what was made of its beginning; `none` is made of no messages.

    The function is given what it made of the beginning, which it must not change, all the messages, and how many of
    them that was made of. What else it is given belongs to the question, but for what it is given by name.
    """

    def decorated(
        add: Callable[Concatenate[Made, Sequence[Message], int, Rest], Made],
    ) -> Callable[Concatenate[Sequence[Message], Rest], Made]:
        @wraps(add)
        def made(messages: Sequence[Message], /, *rest: Rest.args, **named: Rest.kwargs) -> Made:
            transcript = transcript_of(messages)
            found: Made
            found, count = transcript.made.get((add, rest), (none, 0))
            if (before := transcript.before) is not None and count < len(before):
                # The next transcript may have no more in common with this one.
                found, count = made(before, *rest, **named), len(before)
            if count < len(transcript):
                found = add(found, transcript, count, *rest, **named)
                transcript.keep((add, rest), found)
            return found

        return made

    return decorated


@once
def piece(message: Message) -> Piece:
    """Return a message as a piece."""
    return piece_of(encoded(message))


@grown(list[Piece]())
def pieces_of(before: list[Piece], messages: Sequence[Message], count: int) -> list[Piece]:
    """Return the messages as pieces."""
    return [*before, *map(piece, messages[count:])]


@grown(list[str]())
def digests_of(before: list[str], messages: Sequence[Message], count: int) -> list[str]:
    """Return the digests of the messages."""
    return [*before, *(digest for digest, _ in map(piece, messages[count:]))]


@grown(list[Message]())
def instructions_of(before: list[Message], messages: Sequence[Message], count: int) -> list[Message]:
    """Return the messages that are nobody's words but the client's own: its system prompt, and the like."""
    return [*before, *(message for message in messages[count:] if message.get("role") in {"system", "developer"})]


@grown(list[Message]())
def asking_of(before: list[Message], messages: Sequence[Message], count: int) -> list[Message]:
    """Return the messages that ask for calls."""
    return [*before, *(message for message in messages[count:] if message.get("tool_calls"))]
