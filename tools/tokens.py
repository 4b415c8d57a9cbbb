"""Bearer tokens: made here, kept only as hashes, compared in constant time."""

import hashlib
import hmac
import secrets

PREFIX = "sha256:"


def new_token(audience: str) -> str:
    """Return a fresh token of 256 bits whose prefix says whom it is for."""
    return f"clawback-{audience}-{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> str:
    """Return what the configuration keeps of a token. Tokens are random, so a plain digest is enough."""
    return PREFIX + hashlib.sha256(token.encode()).hexdigest()


def matches(token: str, kept: str) -> bool:
    """Say whether `token` is the one whose hash was kept, in time that does not depend on where they differ."""
    return hmac.compare_digest(hash_token(token), kept)
