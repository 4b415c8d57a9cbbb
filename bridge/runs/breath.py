"""Lets other requests be served amid long work: all of a bridge's work is done by one thread."""

import time
from collections.abc import Iterable, Iterator

_LONG = 0.005
"""Seconds. A request that comes meanwhile needs a handful of breaths to be read, done and answered."""

_PAUSE = 1e-6
"""Seconds. After a pause of none, gevent goes on with whoever took it before it looks at the network."""

_LOOKED = 16


class Breath:
    """Long work that is done in pieces."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def take(self) -> None:
        """Let whoever else has something to do go on, where that is due: under gevent nobody does without a wait."""
        if time.perf_counter() - self._since > _LONG:
            time.sleep(_PAUSE)
            self._since = time.perf_counter()


def breathe() -> None:
    """Let whoever else has something to do go on."""
    time.sleep(_PAUSE)


def in_pieces[Item](items: Iterable[Item], looked: int = _LOOKED) -> Iterator[Item]:
    """Yield the items, with breaths between them: where one is due after each `looked`."""
    breath = Breath()
    for number, item in enumerate(items, 1):
        yield item
        if number % looked == 0:
            breath.take()
