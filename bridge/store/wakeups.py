"""Hints that something in the store changed. The store is the truth: a lost hint costs a poll, never a ticket.

Bridges that share a store tell one another over Redis.
"""

import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Callable

log = logging.getLogger("clawback.wakeups")


class Wakeups:
    """Wakes those who wait for a key, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[threading.Event]] = defaultdict(list)

    def when(self, prefix: str, act: Callable[[str], None]) -> None:
        """Call `act` with the rest of a key that begins like this, whenever another process wakes it."""

    def listen(self, key: str) -> "Listening":
        """Listen from now on; to be called before the store is read, so that nothing falls between."""
        event = threading.Event()
        with self._lock:
            self._waiting[key].append(event)
        return Listening(self, key, event)

    def wake(self, key: str) -> None:
        """Wake everyone who waits for `key`."""
        with self._lock:
            events = list(self._waiting.get(key, ()))
        for event in events:
            event.set()

    def wake_all(self) -> None:
        """Wake everyone, whatever they wait for."""
        for key in list(self._waiting):
            self.wake(key)

    def forget(self, key: str, event: threading.Event) -> None:
        """Stop listening."""
        with self._lock:
            self._waiting[key].remove(event)
            if not self._waiting[key]:
                del self._waiting[key]

    def __len__(self) -> int:
        return sum(len(events) for events in self._waiting.values())


class Listening:
    """One who waits for a key; a context manager."""

    def __init__(self, wakeups: Wakeups, key: str, event: threading.Event) -> None:
        self._wakeups, self._key, self._event = wakeups, key, event

    def __enter__(self) -> "Listening":
        return self

    def __exit__(self, *_: object) -> None:
        self._wakeups.forget(self._key, self._event)

    def wait(self, seconds: float) -> bool:
        """Wait for a hint and say whether one came."""
        return self._event.wait(seconds)

    def clear(self) -> None:
        """Listen anew, to be called before the store is read again."""
        self._event.clear()


CHANNEL = "clawback:wakeups"
CONNECT_SECONDS = 2.0
LISTEN_SECONDS = 5.0
RETRY_SECONDS = 1.0
MOST_UNTOLD = 10_000
"""Wake-ups that wait for a slow Redis. What is lost beyond them costs a poll."""


class SharedWakeups(Wakeups):
    """Wakes those who wait for a key in any process that listens to the same Redis."""

    def __init__(self, url: str) -> None:
        # Only a bridge that shares its store has Redis installed.
        from redis import Redis
        from redis.exceptions import RedisError

        super().__init__()
        self._lost = RedisError
        self._acts: dict[str, Callable[[str], None]] = {}
        self._redis = Redis.from_url(url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS)
        self._told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True, name=f"clawback-wakeups-{work.__name__.strip('_')}")
            for work in (self._tell, self._hear)
        ]
        for thread in self._threads:
            thread.start()

    def when(self, prefix: str, act: Callable[[str], None]) -> None:
        """Call `act` with the rest of a key that begins like this, whenever another process wakes it."""
        self._acts[prefix] = act

    def wake(self, key: str) -> None:
        """Wake everyone who waits for `key`, here at once and elsewhere soon: a Redis that is slow stops nobody."""
        super().wake(key)
        if self._told.qsize() < MOST_UNTOLD:
            self._told.put(key)

    def close(self) -> None:
        """Let go of the connections."""
        self._closing.set()
        self._told.put(None)
        for thread in self._threads:
            thread.join(LISTEN_SECONDS + CONNECT_SECONDS)
        self._redis.close()

    def _tell(self) -> None:
        while (key := self._told.get()) is not None:
            try:
                self._redis.publish(CHANNEL, key)
            except self._lost as error:
                log.warning("a wake-up did not reach the other bridges: %s", type(error).__name__)

    def _hear(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen_to_others()
            except self._lost as error:
                log.warning("the other bridges' wake-ups cannot be heard: %s", type(error).__name__)
                self._closing.wait(RETRY_SECONDS)

    def _listen_to_others(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as hints:  # type: ignore[no-untyped-call]
            hints.subscribe(CHANNEL)
            # Whatever was said while nobody listened here.
            for key in list(self._waiting):
                super().wake(key)
            while not self._closing.is_set():
                hint = hints.get_message(timeout=LISTEN_SECONDS)
                if hint:
                    self._heard(hint["data"].decode())

    def _heard(self, key: str) -> None:
        super().wake(key)
        for prefix, act in self._acts.items():
            if key.startswith(prefix):
                try:
                    act(key.removeprefix(prefix))
                except Exception:
                    log.exception("a wake-up of another bridge came to nothing")
