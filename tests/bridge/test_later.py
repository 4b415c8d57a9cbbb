"""What is done later is done in its order, whatever else is to be done."""

import threading
import time

import pytest

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


def test_what_is_never_due_keeps_nothing_from_being_done() -> None:
    is_done = threading.Event()
    after(float("inf"), is_done.set)
    after(1e10, is_done.set)
    after(0.05, is_done.set)
    assert is_done.wait(5)


def test_a_thread_that_the_system_refuses_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    is_done, refused = threading.Event(), list[threading.Thread]()
    start = threading.Thread.start

    def refuse_once(thread: threading.Thread) -> None:
        if thread.daemon and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    after(0.01, threading.Event().set)
    time.sleep(0.2)
    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    after(0.05, is_done.set)
    assert is_done.wait(10)
    assert refused
