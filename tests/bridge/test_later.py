"""What is done later is done in its order, whatever else is to be done."""

import threading
import time

from bridge.runs.services import after


def test_what_is_due_first_is_done_first() -> None:
    done: list[str] = []
    is_last = threading.Event()
    began = time.monotonic()
    after(0.6, done.append, "last")
    after(0.7, is_last.set)
    after(0.05, done.append, "first")
    after(0.3, done.append, "second")
    assert is_last.wait(10)
    assert done == ["first", "second", "last"]
    assert time.monotonic() - began >= 0.6


def test_what_waits_or_fails_keeps_nothing_from_being_done() -> None:
    """A run's lock may be held for long."""
    is_let_go, is_done = threading.Event(), threading.Event()
    failed: list[object] = []
    before, threading.excepthook = threading.excepthook, lambda told: failed.append(told.exc_type)
    try:
        after(0.01, is_let_go.wait, 10)
        after(0.02, lambda: 1 / 0)
        after(0.05, is_done.set)
        assert is_done.wait(5)
    finally:
        threading.excepthook = before
        is_let_go.set()
    assert failed == [ZeroDivisionError]
