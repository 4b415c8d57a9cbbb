"""Identifiers that survive every client."""

import secrets

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def random_name(length: int = 20) -> str:
    """Return `length` random characters of `[0-9a-z]`; 20 of them hold 103 bits."""
    # All of them at once: each question to the system's source takes longer than the rest.
    left, name = secrets.randbelow(len(_ALPHABET) ** length), ""
    for _ in range(length):
        left, place = divmod(left, len(_ALPHABET))
        name += _ALPHABET[place]
    return name


def new_tool_call_id() -> str:
    """Return a tool_call_id that never repeats.

    OpenClaw removes every character outside `[A-Za-z0-9]` and cuts ids to 40, so only ids that
    already have that form come back as they went out.
    """
    return "call" + random_name(24)
