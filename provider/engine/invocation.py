"""Runs the engine: does what it asks for, tells it what came of it, and passes on what is for Dify."""

import os
import threading
import time
from collections.abc import Generator
from contextlib import closing
from functools import cache
from typing import Protocol

from provider.bridge.client import BridgeClient
from provider.bridge.draft_sender import DraftSender
from provider.engine.engine import Engine
from provider.engine.events import (
    Attach,
    CallUpstream,
    CancelTicket,
    Event,
    Exchange,
    ExpireTicket,
    Fail,
    Finish,
    Heartbeat,
    OpenTicket,
    Output,
    Pause,
    PollTicket,
    Record,
    Say,
    Started,
    SuspendTicket,
    TellDrafts,
    Woke,
)
from provider.upstream import connections
from provider.upstream.client import Upstream

DEFAULT_TIME_LIMIT = 600.0
_MARGIN = 30.0
_LAST_MOMENT = 3.0
_STOPPED = 2.0


class Clock(Protocol):
    """Tells the time in seconds and lets it pass."""

    def now(self) -> float:
        """Return the time."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class RealClock:
    """The machine's own time; greenlets let each other run while they sleep."""

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep a little longer than asked for."""
        time.sleep(connections.spread(seconds))


class Pulse:
    """Notices that this process was stopped. What Dify asked meanwhile was not read, and Dify may have given it up."""

    def __init__(self) -> None:
        self._slept, self._woke, self._seen = 0.0, float("-inf"), time.monotonic()
        threading.Thread(target=self._beat, daemon=True).start()

    def unread(self) -> float:
        """Return for how many seconds a call that is read now may have waited."""
        now = time.monotonic()
        if now - self._seen > _STOPPED:
            self._slept, self._woke = now - self._seen, now
        self._seen = now
        return now - self._woke + self._slept if now - self._woke < _STOPPED else 0.0

    def _beat(self) -> None:
        while True:
            time.sleep(_STOPPED / 4)
            self.unread()


pulse = cache(Pulse)


def time_limit(environment: "os._Environ[str] | dict[str, str]" = os.environ) -> float:
    """Return how many seconds Dify's daemon lets an invocation live. The plugin inherits the daemon's environment."""
    try:
        limit = float(environment.get("PLUGIN_MAX_EXECUTION_TIMEOUT") or DEFAULT_TIME_LIMIT)
    except ValueError:
        return DEFAULT_TIME_LIMIT
    return limit if limit > 0 else DEFAULT_TIME_LIMIT


def hold_until(started: float, limit: float) -> float:
    """Return until when an invocation may wait for tools: 30 s before its end, or less where the limit is short."""
    return started + limit - min(_MARGIN, limit * 0.2)


def deadline(started: float, limit: float) -> float:
    """Return when an invocation must be over, so that Dify hears why from the plugin and not from the daemon."""
    return started + limit - min(_LAST_MOMENT, limit * 0.1)


def run(engine: Engine, upstream: Upstream, bridge: BridgeClient, clock: Clock | None = None) -> Generator[Output]:
    """Run one invocation to its end. The last output is a `Finish` or a `Fail`.

    When the caller closes the iterator first, a ticket that is open is cancelled.
    """
    clock = clock or RealClock()
    exchanges = _Exchanges(upstream, bridge, clock)
    drafts = DraftSender(bridge)
    events = exchanges.begin()
    try:
        while not engine.ended:
            for action in engine.handle(next(events), clock.now()):
                if isinstance(action, Say | Heartbeat | Finish | Fail):
                    yield action
                elif isinstance(action, TellDrafts):
                    drafts.tell(action)
                else:
                    if isinstance(action, OpenTicket):
                        drafts.forget()
                    events.close()
                    events = exchanges.events_of(action)
    finally:
        bridge.over = True
        events.close()
        parting = engine.close()
        if parting:
            bridge.cancel_ticket(parting)


class _Exchanges:
    """Does what the engine asks for, and returns what came of it as events."""

    def __init__(self, upstream: Upstream, bridge: BridgeClient, clock: Clock) -> None:
        self._upstream = upstream
        self._bridge = bridge
        self._clock = clock

    def begin(self) -> Generator[Event]:
        yield Started()

    def events_of(self, exchange: Exchange) -> Generator[Event]:
        match exchange:
            case CallUpstream(body, seconds):
                with closing(self._upstream.complete(body, seconds)) as events:
                    yield from events
            case Pause(seconds):
                self._clock.sleep(seconds)
                yield Woke()
            case Attach():
                yield self._bridge.attach(exchange)
            case OpenTicket():
                yield self._bridge.open_ticket(exchange)
            case PollTicket():
                yield self._bridge.poll_ticket(exchange)
            case SuspendTicket():
                yield self._bridge.suspend_ticket(exchange)
            case ExpireTicket():
                yield self._bridge.expire_ticket(exchange)
            case Record():
                yield self._bridge.record(exchange)
            case CancelTicket():
                self._bridge.cancel_ticket(exchange)
