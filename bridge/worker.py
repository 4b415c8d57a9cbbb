"""gunicorn's gevent worker, which a stop does not keep waiting for connections that nobody uses."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker


class Worker(GeventWorker):
    """Knows which of its connections wait for a next request."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._idle: dict[Any, gevent.Timeout] = {}

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:  # type: ignore[override]
        """Bound how long a connection waits for its next request."""
        waiting = gevent.getcurrent()
        with gevent.Timeout(self.cfg.keepalive, False) as limit:  # type: ignore[arg-type]
            self._idle[waiting] = limit
            try:
                yield
            finally:
                del self._idle[waiting]

    def release_idle(self) -> None:
        """Close the connections that wait for a next request, as if their time were up."""
        for waiting, limit in list(self._idle.items()):
            waiting.kill(limit, block=False)
