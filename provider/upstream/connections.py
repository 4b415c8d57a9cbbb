"""The connections that all invocations of this process share: opened when first needed, kept for the next."""

import logging
import random
import ssl
import threading
import time
from functools import cache, lru_cache

import httpx

CONNECT_SECONDS = 10.0
_KEPT = 100

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
    verify: ssl.SSLContext | bool = True
    if ca_certificate:
        verify = httpx.create_ssl_context()
        verify.load_verify_locations(cadata=ca_certificate)
    return _client(proxy, verify)


@cache
def bridges() -> httpx.Client:
    """The client for the bridge: apart, since its connections wait most of the time."""
    return _client()


def _client(proxy: str = "", verify: ssl.SSLContext | bool = True) -> httpx.Client:
    return httpx.Client(
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT),
        timeout=httpx.Timeout(30, connect=CONNECT_SECONDS),
        follow_redirects=False,
        proxy=proxy or None,
        verify=verify,
    )


def pause(seconds: float) -> None:
    """Do nothing for a moment; greenlets let each other run meanwhile."""
    time.sleep(seconds)


def spread(seconds: float) -> float:
    """Return a pause a little longer than asked for, so that those who failed together do not come back together."""
    return seconds * random.uniform(1.0, 1.25)  # noqa: S311 - no secret
