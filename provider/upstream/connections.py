"""The connections that all invocations of this process share: opened when first needed, kept for the next."""

import logging
import random
import ssl
import threading
from functools import cache, lru_cache

import httpx

CONNECT_SECONDS = 10.0
_KEPT = 100
_AT_ONCE = 16

_opening = threading.Lock()

# It logs every request's address, once for each poll.
logging.getLogger("httpx").setLevel(logging.WARNING)


def upstreams(proxy: str = "", ca_certificate: str = "") -> httpx.Client:
    """The client for all upstreams behind a proxy and trusted by a certificate authority, PEM, if there are such.

    Keys are in the requests, never in the client.
    """
    with _opening:  # or two that come at once open two
        return _upstreams(proxy, ca_certificate)


@lru_cache(maxsize=32)
def _upstreams(proxy: str, ca_certificate: str) -> httpx.Client:
    return _client(proxy, _trusting(ca_certificate))


@cache
def bridges() -> httpx.Client:
    """The client for the bridge: apart, since its connections wait most of the time."""
    return _client("", _trusting(""))


@lru_cache(maxsize=32)
def turns(url: str) -> threading.BoundedSemaphore:
    """What a request to a bridge takes before it is sent, for a moment: so many are under way at once."""
    return threading.BoundedSemaphore(_AT_ONCE)


@lru_cache(maxsize=32)
def _trusting(ca_certificate: str) -> ssl.SSLContext:
    """Each holds a list of authorities: it takes long to read, and nearly a megabyte."""
    context = httpx.create_ssl_context()
    if ca_certificate:
        context.load_verify_locations(cadata=ca_certificate)
    return context


def _client(proxy: str, verify: ssl.SSLContext) -> httpx.Client:
    client = httpx.Client(
        # Many servers (uvicorn) close an idle connection after 5 s, perhaps just when a request is on its way.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT, keepalive_expiry=4),
        timeout=httpx.Timeout(30, connect=CONNECT_SECONDS),
        follow_redirects=False,
        proxy=proxy or None,
        verify=verify,
    )
    # One invocation's cookies would go with the requests of all others.
    client.cookies.extract_cookies = lambda response: None  # type: ignore[method-assign]
    return client


def spread(seconds: float) -> float:
    """Return a pause a little longer than asked for, so that those who failed together do not come back together."""
    return seconds * random.uniform(1.0, 1.25)  # noqa: S311 - no secret
