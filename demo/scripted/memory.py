"""What the server remembers between requests: how often it has failed on purpose, so that a retry gets through."""

import hashlib
import random
import string
import time
from collections import Counter
from collections.abc import Callable

_ALPHABET = string.ascii_letters + string.digits


class Memory:
    """Failures that were played, and the sources of ids and time (both may be fixed for a test)."""

    def __init__(self, seed: int | None = None, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._random = random.Random(seed)  # noqa: S311 - ids, not secrets
        self._failures: Counter[tuple[str, int, int]] = Counter()

    def new_id(self, prefix: str) -> str:
        """The prefix and 24 letters or digits, as OpenAI's ids are."""
        return prefix + "".join(self._random.choices(_ALPHABET, k=24))

    def fails_now(self, message: str, round_number: int, position: int, times: int) -> bool:
        """Whether the failure at this place of this script has been played fewer than `times` times; counts it."""
        key = (hashlib.sha256(message.encode(errors="replace")).hexdigest(), round_number, position)
        if self._failures[key] >= times:
            return False
        self._failures[key] += 1
        return True

    def forget(self) -> None:
        """All failures are to be played again."""
        self._failures.clear()
