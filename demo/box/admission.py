"""An app's limit of concurrent requests.

Source: core/app/features/rate_limiting/rate_limit.py and services/app_generate_service.py. A streaming request takes
its place twice under one id, and gives it back before the run starts. So with a limit of 1 every streaming request is
refused, and with a higher one only requests in blocking mode fill the places.
"""

import threading
import time
import uuid

PLACE_SECONDS = 600.0


class TooManyRequests(Exception):
    """The app has as many requests at work as it may have: HTTP 429."""


class Admission:
    """Counts each app's requests at work. `limit` 0 means unlimited; `hold` keeps a stream's place until it ends."""

    def __init__(self, limit: int, *, hold: bool) -> None:
        self._limit = limit
        self._hold = hold
        self._lock = threading.Lock()
        self._places: dict[str, dict[str, float]] = {}

    def admit_blocking(self, app_id: str) -> str:
        """Take a place; give it back with `leave`. Raises TooManyRequests."""
        place = uuid.uuid4().hex
        self._enter(app_id, place)
        return place

    def admit_stream(self, app_id: str) -> str:
        """Take a place for a stream; give it back with `leave` when the stream ends. Raises TooManyRequests."""
        place = self.admit_blocking(app_id)
        if self._hold:
            return place
        try:
            self._enter(app_id, place)
        finally:
            self.leave(app_id, place)
        return place

    def leave(self, app_id: str, place: str) -> None:
        """Give a place back; more than once does no harm."""
        with self._lock:
            self._places.get(app_id, {}).pop(place, None)

    def _enter(self, app_id: str, place: str) -> None:
        if self._limit <= 0:
            return
        with self._lock:
            places = self._places.setdefault(app_id, {})
            for old in [each for each, since in places.items() if time.monotonic() - since > PLACE_SECONDS]:
                del places[old]
            if len(places) >= self._limit:
                raise TooManyRequests(
                    "Too many requests. Please try again later. The current maximum concurrent requests allowed "
                    f"for {app_id} is {self._limit}."
                )
            places[place] = time.monotonic()
