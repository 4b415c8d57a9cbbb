"""Hints that something in the store changed. The store is the truth: a lost hint costs a poll, never a ticket.

Bridges that share a store tell one another over Redis, or over PostgreSQL itself.
"""

import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from bridge.store.clock import look_anew
from bridge.store.engine import connection_of, is_pooled
from bridge.store.faults import StoreUnavailable

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
        look_anew()
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
        came = self._event.wait(seconds)
        look_anew()
        return came

    def clear(self) -> None:
        """Listen anew, to be called before the store is read again."""
        self._event.clear()
        look_anew()


CHANNEL = "clawback:wakeups"
CONNECT_SECONDS = 2.0
LISTEN_SECONDS = 5.0
RETRY_SECONDS = 1.0
MOST_UNTOLD = 10_000
"""Wake-ups that wait for a slow Redis. What is lost beyond them costs a poll."""
MOST_AT_ONCE = 100


class Line(Protocol):
    """What carries keys between bridges."""

    lost: type[Exception]
    """What is raised while it carries nothing."""

    def tell(self, keys: Sequence[str]) -> None:
        """Send keys to whoever listens."""

    def hear(self) -> Iterator[str | None]:
        """Yield None once it listens, then each key, and None again whenever none has come for a while."""

    def close(self) -> None:
        """Let go of the connections."""


class Deaf(Exception):
    """A line that will never hear anything; the text says why."""


class SharedWakeups(Wakeups):
    """Wakes those who wait for a key in any process that listens to the same Redis or PostgreSQL."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._line: Line = PostgresqlLine(url) if url.startswith("postgres") else RedisLine(url)
        self._acts: dict[str, Callable[[str], None]] = {}
        self._told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._hears = True
        """False once it was logged that others cannot be heard: it is said once, not at each try."""
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
        """Wake everyone who waits for `key`, here at once and elsewhere soon: a line that is slow stops nobody."""
        super().wake(key)
        if self._told.qsize() < MOST_UNTOLD:
            self._told.put(key)

    def close(self) -> None:
        """Let go of the connections."""
        self._closing.set()
        self._told.put(None)
        for thread in self._threads:
            thread.join(LISTEN_SECONDS + CONNECT_SECONDS)
        self._line.close()

    def _tell(self) -> None:
        while (key := self._told.get()) is not None:
            keys = {key: None}
            with suppress(queue.Empty):
                while len(keys) < MOST_AT_ONCE and (key := self._told.get_nowait()) is not None:
                    keys[key] = None
            try:
                self._line.tell(list(keys))
            except self._line.lost as error:
                log.warning("a wake-up did not reach the other bridges: %s", type(error).__name__)
            if key is None:
                return

    def _hear(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen_to_others()
            except self._line.lost as error:
                if self._hears:
                    log.warning("the other bridges' wake-ups cannot be heard: %s", type(error).__name__)
                    self._hears = False
                self._closing.wait(RETRY_SECONDS)
            except Deaf as error:
                log.warning("the other bridges' wake-ups cannot be heard, and each takes up to ten seconds: %s", error)
                return

    def _listen_to_others(self) -> None:
        keys = self._line.hear()
        next(keys)
        if not self._hears:
            log.info("the other bridges' wake-ups are heard again")
            self._hears = True
        # Whatever was said while nobody listened here.
        for key in list(self._waiting):
            super().wake(key)
        for heard in keys:
            if self._closing.is_set():
                return
            if heard is not None:
                self._heard(heard)

    def _heard(self, key: str) -> None:
        super().wake(key)
        for prefix, act in self._acts.items():
            if key.startswith(prefix):
                try:
                    act(key.removeprefix(prefix))
                except StoreUnavailable as error:
                    log.warning("a wake-up of another bridge came to nothing: %s", error.reason)
                except Exception:
                    log.exception("a wake-up of another bridge came to nothing")


class RedisLine:
    """A channel of Redis."""

    def __init__(self, url: str) -> None:
        # Only a bridge that has it configured has Redis installed.
        from redis import Redis
        from redis.exceptions import RedisError

        self.lost: type[Exception] = RedisError
        limits = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": CONNECT_SECONDS}
        is_behind_sentinels = "+sentinel://" in url
        self._redis = _behind_sentinels(url, limits) if is_behind_sentinels else Redis.from_url(url, **limits)

    def tell(self, keys: Sequence[str]) -> None:
        """Send keys to whoever listens."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.publish(CHANNEL, key)
            pipeline.execute()

    def hear(self) -> Iterator[str | None]:
        """Yield None once it listens, then each key, and None again whenever none has come for a while."""
        with self._redis.pubsub(ignore_subscribe_messages=True) as hints:
            hints.subscribe(CHANNEL)
            yield None
            while True:
                hint = hints.get_message(timeout=LISTEN_SECONDS)
                yield hint["data"].decode() if hint else None

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()


def _behind_sentinels(url: str, limits: Mapping[str, float]) -> Any:
    """Return the Redis that Sentinels name: `redis+sentinel://user:password@host:26379,other:26379/NAME/0?options`."""
    from redis.backoff import NoBackoff
    from redis.connection import parse_url
    from redis.retry import Retry
    from redis.sentinel import Sentinel

    parts = urlsplit(url)
    secret, _, hosts = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    scheme, one = parts.scheme.removesuffix("+sentinel"), f"{secret}@localhost" if secret else "localhost"
    options: dict[str, Any] = parse_url(urlunsplit((scheme, one, database, parts.query, "")))  # type: ignore[no-untyped-call]
    tls = {key: value for key, value in options.items() if key.startswith("ssl")} | {"ssl": scheme == "rediss"}
    secrets = {key: options.pop(f"sentinel_{key}", None) for key in ("username", "password")}
    for key in ("host", "connection_class"):
        options.pop(key, None)
    addresses = [(host, int(port or 26379)) for host, _, port in (each.rpartition(":") for each in hosts.split(","))]
    # Each is asked once: the next one is the retry.
    asked = {**limits, **tls, **secrets, "retry": Retry(NoBackoff(), 0)}
    sentinels = Sentinel(addresses, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
    return sentinels.master_for(name, **limits, **options, ssl=tls["ssl"])  # type: ignore[no-untyped-call]


class PostgresqlLine:
    """A channel of PostgreSQL. A pooler that has no session of the server for each client carries none to it."""

    def __init__(self, url: str) -> None:
        from psycopg import Error

        self.lost: type[Exception] = Error
        self._url = url
        self._telling: Any = None

    def tell(self, keys: Sequence[str]) -> None:
        """Send keys to whoever listens."""
        if self._telling is None or self._telling.closed:
            self._telling = connection_of(self._url)
        self._telling.execute("SELECT pg_notify(%s, key) FROM unnest(%s::text[]) AS key", (CHANNEL, list(keys)))

    def hear(self) -> Iterator[str | None]:
        """Yield None once it listens, then each key, and None again whenever none has come for a while."""
        with connection_of(self._url) as connection:
            if is_pooled(connection):
                raise Deaf("a pooler is in between. Set wakeups_url to the address of PostgreSQL, or of Redis")
            connection.execute(f'LISTEN "{CHANNEL}"')
            yield None
            while True:
                yield from (hint.payload for hint in connection.notifies(timeout=LISTEN_SECONDS))
                yield None

    def close(self) -> None:
        """Let go of the connections."""
        if self._telling is not None:
            self._telling.close()
