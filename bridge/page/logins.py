"""Who is logged in: a random id in a cookie, whose digest the store keeps until the login is over."""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from flask import Request
from werkzeug.wrappers import Response

from bridge.api.access import LOGIN_COOKIE
from bridge.config import Config
from bridge.store.rows import LoginRow
from bridge.store.store import Store
from tools.tokens import matches

NOBODY = "someone"
LONGEST_NAME = 100
MOST_FAILURES = 10
WINDOW_SECONDS = 300.0
_MOST_ADDRESSES = 1_000


@dataclass(frozen=True, slots=True)
class Login:
    """Someone who showed the operator's token. `expires_at` is in seconds since the epoch."""

    name: str
    expires_at: float
    secret: str = field(repr=False)

    def form_token(self, action: str) -> str:
        """Return what a form that posts to `action` has to bring: nobody else can know it."""
        return hmac.new(self.secret.encode(), action.encode(), hashlib.sha256).hexdigest()

    def has_sent(self, action: str, token: str) -> bool:
        """Say whether `token` is that form's, in time that does not depend on where it differs."""
        return hmac.compare_digest(self.form_token(action).encode(), token.encode())


class Logins:
    """Opens logins, finds them again, and ends them. A new operator token ends them all."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store.logins

    @property
    def _token_hash(self) -> str:
        return self._config.tokens.operator

    @property
    def possible(self) -> bool:
        """Whether there is an operator token at all."""
        return bool(self._token_hash)

    def is_operators(self, token: str) -> bool:
        """Say whether this is the operator's token."""
        return self.possible and matches(token, self._token_hash)

    def open(self, name: str) -> Login:
        """Let someone in who has shown the token."""
        expires_at = time.time() + self._config.page.login_hours * 3600
        login = Login(name.strip()[:LONGEST_NAME] or NOBODY, expires_at, secrets.token_urlsafe(32))
        self._store.add(LoginRow(_digest(login.secret), login.name, self._token_hash, login.expires_at))
        return login

    def of(self, request: Request) -> Login | None:
        """Return the login that a request belongs to."""
        secret = request.cookies.get(cookie_name(request), "")
        return self.again(secret) if secret else None

    def again(self, secret: str) -> Login | None:
        """Return the login with this secret unless it is over."""
        row = self._store.find(_digest(secret))
        if row is None or not hmac.compare_digest(row.token_hash, self._token_hash):
            return None
        return Login(row.name, row.expires_at, secret)

    def end(self, login: Login) -> None:
        """Log out."""
        self._store.end(_digest(login.secret))


def set_cookie(request: Request, response: Response, login: Login) -> None:
    """Leave the login with the browser, which shows it to this page alone and to no script."""
    response.set_cookie(
        cookie_name(request),
        login.secret,
        max_age=max(1, round(login.expires_at - time.time())),
        path="/",
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )


def drop_cookie(request: Request, response: Response) -> None:
    """Take the login away from the browser."""
    response.delete_cookie(cookie_name(request), path="/", secure=request.is_secure, httponly=True, samesite="Strict")


def cookie_name(request: Request) -> str:
    """Return the cookie's name. With https no other host can set one with this prefix."""
    return f"__Host-{LOGIN_COOKIE}" if request.is_secure else LOGIN_COOKIE


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Attempts:
    """The failures of each address lately. Only failures count, so that nobody who has the token is kept out."""

    def __init__(self, most: int = MOST_FAILURES, seconds: float = WINDOW_SECONDS) -> None:
        self._most, self._seconds = most, seconds
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Return for how many seconds this address must not try; 0 for not at all."""
        now = time.monotonic()
        recent = [at for at in self._failures.get(address, ()) if now - at < self._seconds]
        return self._seconds - (now - recent[-self._most]) if len(recent) >= self._most else 0.0

    def failed(self, address: str) -> None:
        """Note a failure."""
        failures = self._failures.pop(address, [])
        self._failures[address] = [*failures[-self._most :], time.monotonic()]
        if len(self._failures) > _MOST_ADDRESSES:
            self._failures.popitem(last=False)
