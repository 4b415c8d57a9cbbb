"""A response as it is told: its events with their numbers, kept so that a client that lost its stream goes on in it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator

from bridge.api.openai.responses_response import Body, ResponseTeller
from bridge.runs.segments import Event, Segment, extent

KEPT = 200


class Telling:
    """Tells a segment once, to any number of readers, each from the event that it asks for.

    `on_end` is called before a reader is told the last event.
    """

    def __init__(self, teller: ResponseTeller, segment: Segment, on_end: Callable[[], None]) -> None:
        self.teller = teller
        self.segment = segment
        self._on_end = on_end
        self._lock = threading.Lock()
        self._position = 0
        self._log: list[Body] = list(teller.begin())

    @property
    def ended(self) -> bool:
        """Whether the last event is there."""
        return self.teller.status != "in_progress"

    def tell(self, events: Iterable[Event | None], after: int = -1) -> Iterator[Body]:
        """Yield the response's events behind the number `after`.

        `events` paces: it yields whenever the segment goes on, and None where it was silent for a while.
        """
        told = after + 1
        told = yield from self._behind(told)
        if self.ended:
            return
        for event in events:
            self._catch_up(silent=event is None)
            told = yield from self._behind(told)

    def _behind(self, told: int) -> Generator[Body, None, int]:
        """Yield what is there, with what comes while it is yielded, and return how far that went."""
        while told < len(self._log):
            yield self._log[told]
            told += 1
        return told

    def _catch_up(self, *, silent: bool) -> None:
        with self._lock:
            known = len(self._log)
            for event in self.segment.read(self._position, 0):
                self._position += extent(event)
                told = list(self.teller.tell(event))
                if self.ended:
                    self._on_end()
                self._log += told
            if silent and len(self._log) == known and not self.ended:
                self._log += self.teller.keepalive()


class Tellings:
    """The responses that were told last, by their ids."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Telling] = OrderedDict()

    def add(self, telling: Telling) -> None:
        """Keep one more, and let the oldest go."""
        with self._lock:
            self._kept[telling.teller.id] = telling
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def find(self, response_id: str) -> Telling | None:
        """Find the response with this id."""
        with self._lock:
            return self._kept.get(response_id)

    def forget(self, response_id: str) -> None:
        """Keep it no longer."""
        with self._lock:
            self._kept.pop(response_id, None)
