"""Lets other requests be served amid long work: all of a bridge's work is done by one thread."""

import time
from collections.abc import Iterable, Iterator

_PIECE = 200


def breathe() -> None:
    """Let whoever else has something to do go on: under gevent nobody does until this thread waits."""
    time.sleep(0)


def in_pieces[Item](items: Iterable[Item], size: int = _PIECE) -> Iterator[Item]:
    """Yield the items, with a breath before each `size` of them but the first."""
    for number, item in enumerate(items, 1):
        yield item
        if number % size == 0:
            breathe()
