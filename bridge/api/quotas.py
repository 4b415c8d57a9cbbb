"""How much a client may have under way and use in a day, and an app for all its clients together.

What counts is decided as the turn is written, for one turn of theirs after the other: of many that ask at once, only as
many begin as may. A turn under way counts before it has opened a ticket or used a token, since it may yet.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from bridge.config import App, Limits
from bridge.errors import TooManyRequests
from bridge.runs.live import AWAY_SECONDS
from bridge.store import clock
from bridge.store.keys import DAY_SECONDS, Whose, spender
from bridge.store.rows import ClientRow
from bridge.store.store import MayBegin, Store

MINUTE = 60.0
PAUSE_SECONDS = 5
"""When somebody is told to come back who has as much under way as may be."""


@dataclass(frozen=True, slots=True)
class _Quota:
    """The limits of a client or an app. Its tokens are counted under `spender`.

    `advice` is for who has too many open tickets.
    """

    whose: Whose
    name: str
    spender: str
    words: str
    advice: str
    open_tickets: int | None
    tokens_per_day: int | None


class Quotas:
    """What may begin. Requests are counted by each process on its own."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store, self._clients, self._limits = store, store.clients, limits
        self._began_at = clock.now()
        self._asked: dict[str, deque[float]] = {}

    def may_begin(
        self, client: ClientRow | None, app: App | None = None, tokens: Callable[[], int] = lambda: 0
    ) -> MayBegin | None:
        """Return what raises TooManyRequests as a turn is written that may not begin; raise it where that is known now.

        `tokens` estimates what the turn sends.
        """
        may_begin = self._may_begin([*_of_client(client), *_of_app(app)], tokens)
        if app and app.requests_per_minute is not None:
            asked = self._asked.setdefault(app.model, deque())
            count_request(asked, app.requests_per_minute, f"{app.model} may be asked {{}} times a minute")
        return may_begin

    def _may_begin(self, quotas: list[_Quota], tokens: Callable[[], int]) -> MayBegin | None:
        quotas = [quota for quota in quotas if quota.open_tickets or quota.tokens_per_day]
        if not quotas:
            return None
        estimate = max(1, tokens()) if any(quota.tokens_per_day for quota in quotas) else 0
        with self._store.watching() as connection:
            self._check(connection, quotas, estimate)

        def check(connection: Connection) -> None:
            for quota in quotas:
                self._clients.one_by_one(connection, quota.spender)
            self._check(connection, quotas, estimate)

        return check

    def _check(self, connection: Connection, quotas: list[_Quota], estimate: int) -> None:
        now = clock.now()
        left_before = now - self._limits.abandoned_seconds
        # Alone with its store, a bridge drives what has begun since it did.
        driven_since = now - AWAY_SECONDS if self._store.is_shared else self._began_at
        for quota in quotas:
            limit, whose = quota.open_tickets, (quota.whose, quota.name)
            if limit and self._clients.held(connection, *whose, left_before, driven_since) >= limit:
                raise TooManyRequests(
                    f"{quota.words} has {limit} open tickets, or turns that may open one, and may have no more "
                    f"({quota.advice})",
                    retry_after=PAUSE_SECONDS,
                )
            if quota.tokens_per_day:
                self._check_tokens(connection, quota, estimate, driven_since)

    def _check_tokens(self, connection: Connection, quota: _Quota, estimate: int, driven_since: float) -> None:
        limit, spent = quota.tokens_per_day or 0, self._clients.spent(connection, quota.spender)
        if spent >= limit:
            raise used_up(quota.words, spent, limit)
        if spent + estimate * self._clients.begun(connection, quota.whose, quota.name, driven_since) >= limit:
            raise TooManyRequests(
                f"{quota.words} has turns under way that may use what is left of its {limit} tokens of today; "
                "try again once they have ended",
                retry_after=PAUSE_SECONDS,
            )


def count_request(asked: deque[float], limit: int, text: str) -> None:
    """Note that somebody asks. Raises TooManyRequests where they have asked so often within a minute."""
    now = time.monotonic()
    while asked and now - asked[0] >= MINUTE:
        asked.popleft()
    if len(asked) >= limit:
        raise TooManyRequests(text.format(limit), retry_after=int(MINUTE - (now - asked[0])) + 1)
    asked.append(now)


def used_up(who: str, spent: int, limit: int) -> TooManyRequests:
    """Return what is said to who has used all tokens of a day."""
    return TooManyRequests(
        f"{who} has used {spent} tokens today and may use {limit}; try again after midnight (UTC)",
        code="insufficient_quota",
        retry_after=int(DAY_SECONDS - clock.now() % DAY_SECONDS) + 1,
    )


def _of_client(client: ClientRow | None) -> list[_Quota]:
    if client is None:
        return []
    advice = "send the results of their calls, or wait for limits.abandoned_seconds"
    limits = client.open_tickets, client.tokens_per_day
    return [_Quota("client", client.name, client.name, f"client {client.name}", advice, *limits)]


def _of_app(app: App | None) -> list[_Quota]:
    if app is None:
        return []
    advice, limits = "open_tickets of the app", (app.open_tickets, app.tokens_per_day)
    return [_Quota("model", app.model, spender(app.model), app.model, advice, *limits)]
