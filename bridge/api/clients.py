"""Who asks, and how much each client with a token of its own, and each app, may be asked."""

import time
from collections import deque
from collections.abc import Sequence

from bridge.config import App, Limits
from bridge.errors import TooManyRequests
from bridge.store import Store, clock
from bridge.store.keys import DAY_SECONDS, spender
from bridge.store.rows import ClientRow
from tools.tokens import hash_token

DEFAULT = "default"
"""The client with the token of the configuration."""

RESERVED = frozenset({DEFAULT, "local", ""})
KNOWN_SECONDS = 2.0
"""For so long after it was revoked, a token may still be taken."""

MINUTE = 60.0
PAUSE_SECONDS = 5
"""When a client is told to come back that has too many open tickets."""


class Clients:
    """Who they are by their tokens. Requests are counted by each process on its own."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._known: dict[str, tuple[float, ClientRow | None]] = {}
        self._asked: dict[str, deque[float]] = {}

    def of(self, tokens: Sequence[str]) -> ClientRow | None:
        """Return the client with one of these tokens, None where they are no client's of its own."""
        return next((client for token in tokens if (client := self._with(hash_token(token)))), None)

    def _with(self, hashed: str) -> ClientRow | None:
        now = time.monotonic()
        read_at, client = self._known.get(hashed, (-KNOWN_SECONDS, None))
        if now - read_at >= KNOWN_SECONDS:
            if len(self._known) > 1000:
                self._known.clear()
            client = self._store.clients.with_hash(hashed)
            self._known[hashed] = (now, client)
        return client

    def is_known(self, client: ClientRow) -> bool:
        """Whether a client's token is still valid."""
        return self._with(client.token_hash) is not None

    def admit(self, client: ClientRow, *, asks: bool) -> None:
        """Note that a client is here, and what it asks for. Raises TooManyRequests."""
        self._store.clients.used(client)
        if not asks:
            return
        self._check_rate(client)
        if client.tokens_per_day is not None:
            spent = self._store.clients.spent_today(client.name)
            if spent >= client.tokens_per_day:
                raise _used_up(f"client {client.name}", spent, client.tokens_per_day)

    def _check_rate(self, client: ClientRow) -> None:
        if client.requests_per_minute is not None:
            asked = self._asked.setdefault(client.name, deque())
            _count(asked, client.requests_per_minute, f"client {client.name} may send {{}} requests a minute")

    def check_tickets(self, client: ClientRow) -> None:
        """Raise TooManyRequests where a client has as many open tickets as it may, and would begin another turn."""
        limit, left_before = client.open_tickets, clock.now() - self._limits.abandoned_seconds
        if limit is not None and self._store.clients.open_tickets(client.name, left_before) >= limit:
            raise TooManyRequests(
                f"client {client.name} has {limit} open tickets, which is all that it may have: send the results of "
                "their calls, or wait for limits.abandoned_seconds",
                retry_after=PAUSE_SECONDS,
            )


class Quotas:
    """How much each app may be asked, by all clients together. Requests are counted by each process on its own."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._asked: dict[str, deque[float]] = {}

    def check(self, app: App) -> None:
        """Count a turn that is to begin. Raises TooManyRequests."""
        limit, model = app.open_tickets, app.model
        left_before = clock.now() - self._limits.abandoned_seconds
        if limit is not None and self._store.clients.open_tickets_of_model(model, left_before) >= limit:
            raise TooManyRequests(
                f"{model} has {limit} open tickets, which is all that it may have (open_tickets of the app)",
                retry_after=PAUSE_SECONDS,
            )
        if app.tokens_per_day is not None:
            spent = self._store.clients.spent_today(spender(model))
            if spent >= app.tokens_per_day:
                raise _used_up(model, spent, app.tokens_per_day)
        if app.requests_per_minute is not None:
            asked = self._asked.setdefault(model, deque())
            _count(asked, app.requests_per_minute, f"{model} may be asked {{}} times a minute")


def _count(asked: deque[float], limit: int, text: str) -> None:
    now = time.monotonic()
    while asked and now - asked[0] >= MINUTE:
        asked.popleft()
    if len(asked) >= limit:
        raise TooManyRequests(text.format(limit), retry_after=int(MINUTE - (now - asked[0])) + 1)
    asked.append(now)


def _used_up(who: str, spent: int, limit: int) -> TooManyRequests:
    return TooManyRequests(
        f"{who} has used {spent} tokens today, and may use {limit}; it may go on at midnight (UTC)",
        code="insufficient_quota",
        retry_after=int(DAY_SECONDS - clock.now() % DAY_SECONDS) + 1,
    )
