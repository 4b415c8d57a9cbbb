"""What all parts of the core share; and a breath amid long work, since one thread does all of a bridge's work."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import batched, count

from bridge.config import Config
from bridge.dify.apps import Apps
from bridge.runs.observing.observers import Observers
from bridge.runs.requests import Places, RunRequests
from bridge.store.clock import Presence, look_anew
from bridge.store.keys import spender
from bridge.store.rows import RunRow
from bridge.store.store import Store
from bridge.store.wakeups import Wakeups
from tools.marker import strip_markers
from tools.wire import ModelCall, Usage

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
    for some in batched(items, looked):
        yield from some
        breath.take()


AT_ONCE = 8
"""So many changes of one request are under way at once: more would take the store's connections from others."""


def at_once[Item, Result](
    change: Callable[[Item], Result], items: Sequence[Item], run_of: Callable[[Item], str]
) -> list[Result]:
    """Make a change for each item, those of one run one after the other, and of several runs at once.

    So they wait for the disk together. The first error is raised.
    """
    results: dict[int, Result] = {}
    of_runs: defaultdict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        of_runs[run_of(item)].append(number)

    def change_run(numbers: Sequence[int]) -> None:
        for number in numbers:
            results[number] = change(items[number])

    if len(of_runs) < 2:
        change_run(range(len(items)))
    else:
        context = copy_context()
        with ThreadPoolExecutor(min(AT_ONCE, len(of_runs)), "clawback-change") as pool:
            list(pool.map(lambda numbers: context.copy().run(change_run, numbers), of_runs.values()))
    return [results[number] for number in range(len(items))]


class Locks:
    """A lock for each name, there for as long as somebody wants it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.RLock, list[None]]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Take the lock of this name. Who has it may take it again."""
        with self._guard:
            lock, users = self._locks.setdefault(name, (threading.RLock(), []))
            users.append(None)
        try:
            if not lock.acquire(blocking=False):
                lock.acquire()
                look_anew()
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._guard:
                users.pop()
                if not users:
                    del self._locks[name]

    def __len__(self) -> int:
        return len(self._locks)


@dataclass(frozen=True, slots=True)
class Services:
    """The configuration and what is shared. `locks` has one per run, and one per session in which a turn begins.

    Once it is `stopping`, nobody waits for anything any more.
    """

    config: Config
    store: Store
    wakeups: Wakeups
    observers: Observers
    locks: Locks = field(default_factory=Locks)
    stopping: threading.Event = field(default_factory=threading.Event)
    presence: Presence = field(default_factory=Presence)
    apps: Apps = field(init=False)
    requests: RunRequests = field(init=False)

    def used_upstream(self, run: RunRow, usage: Usage) -> None:
        """The plugin reported an upstream call of a run."""
        self.observers.used_upstream(run, usage)
        tokens = usage.prompt_tokens + usage.completion_tokens
        if run.client not in {"", "default"}:
            self.store.clients.spend(run.client, tokens)
        if (app := self.config.app(run.model)) and app.tokens_per_day is not None:
            self.store.clients.spend(spender(run.model), tokens, is_limited=True)

    def also(self, places: Places | None) -> dict[str, str]:
        """Return by which names a node's allowed_tools may name tools of Dify, too."""
        of_dify = {tools.name for tools in self.config.dify_tools}
        found = (places or {}).items()
        return {name: f"dify:{place.tool}" for name, place in found if place.executor in of_dify}

    def note_model_calls(self, run_id: str, invocation_id: str, calls: Sequence[ModelCall]) -> None:
        """The plugin reported what it asked of a model, and how that ended."""
        run = self.store.run(run_id) if calls else None
        if run is None:
            return
        is_shown = self.config.log_content and any(call.request for call in calls)
        said = self.requests.of(run).messages if is_shown else ()
        cleared = {} if is_shown else {"request": None}
        calls = [call.model_copy(update=cleared | {"error": strip_markers(call.error or "") or None}) for call in calls]
        self.store.model_calls.add(run_id, invocation_id, calls, said)

    def __post_init__(self) -> None:
        object.__setattr__(self, "apps", Apps(self.config))
        object.__setattr__(self, "requests", RunRequests(self.store))


def in_background(work: Callable[..., None], *arguments: object) -> None:
    """Do this in a thread. What it logs belongs to the request at hand, and so does its trace."""
    context = copy_context()
    context.run(look_anew)
    name = f"clawback-{work.__name__.strip('_')}"
    threading.Thread(target=context.run, args=(work, *arguments), daemon=True, name=name).start()


_REFUSED_SECONDS = 1.0
_LONGEST_SECONDS = 3600.0
"""Nothing waits for longer in one go: there is an end to what a wait can be told."""


class _Later:
    """One thread waits for all that is to be done later: most of it turns out to be nothing by then."""

    def __init__(self) -> None:
        self._earlier = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._count = count()
        self._thread: threading.Thread | None = None

    def add(self, at: float, act: Callable[[], object]) -> None:
        """Do this at a time of `time.monotonic`."""
        due = (at, next(self._count), act)
        with self._earlier:
            heappush(self._due, due)
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, daemon=True, name="clawback-later")
                self._thread.start()
            elif self._due[0] is due:
                self._earlier.notify()

    def _wait(self) -> None:
        while True:
            with self._earlier:
                act = self._next()
            try:
                threading.Thread(target=act, daemon=True).start()
            except RuntimeError:
                # The system has no thread to give just now.
                self.add(time.monotonic() + _REFUSED_SECONDS, act)
            # It may hold much, and the wait for the next may be long.
            del act

    def _next(self) -> Callable[[], object]:
        while True:
            left = self._due[0][0] - time.monotonic() if self._due else None
            if left is not None and left <= 0:
                return heappop(self._due)[2]
            self._earlier.wait(left if left is None else min(left, _LONGEST_SECONDS))


_LATER = _Later()


def after(seconds: float, act: Callable[..., object], *arguments: object) -> None:
    """Do this later, in a thread."""
    _LATER.add(time.monotonic() + seconds, partial(act, *arguments))
