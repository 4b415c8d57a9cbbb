"""Carries wake-ups between bridges that share a store, over Redis. What is lost there costs a poll, never a ticket."""

import logging
import queue
import threading
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from bridge.store.wakeups import Wakeups

log = logging.getLogger("clawback.wakeups")

CHANNEL = "clawback:wakeups"
CONNECT_SECONDS = 2.0
LISTEN_SECONDS = 5.0
RETRY_SECONDS = 1.0
MOST_UNTOLD = 10_000
"""Wake-ups that wait for a slow Redis. What is lost beyond them costs a poll."""


class SharedWakeups(Wakeups):
    """Wakes those who wait for a key in any process that listens to the same Redis."""

    def __init__(self, url: str) -> None:
        super().__init__()
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
            except RedisError as error:
                log.warning("a wake-up did not reach the other bridges: %s", type(error).__name__)

    def _hear(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen_to_others()
            except RedisError as error:
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
