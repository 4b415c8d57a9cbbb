"""Lets a waiting engine's idle workers wait.

graphon's workers look for the next node ten times a second. Here a look lasts a second, unless a node comes.
Differs from Dify in nothing a client can see: a node still starts as soon as it is ready.
"""

import queue
from typing import TYPE_CHECKING, override

from demo.box.engine_names import IS_NEW

if TYPE_CHECKING or not IS_NEW:
    from graphon.runtime.ready_queue import ReadyQueueProtocol
else:
    ReadyQueueProtocol = object

LOOK_SECONDS = 1.0


class PatientReadyQueue(ReadyQueueProtocol):
    """The nodes of one run that are ready to execute."""

    def __init__(self) -> None:
        self._nodes: queue.Queue[str] = queue.Queue()

    @override
    def put(self, item: str) -> None:
        self._nodes.put(item)

    @override
    def get(self, timeout: float | None = None) -> str:
        return self._nodes.get(timeout=None if timeout is None else LOOK_SECONDS)

    @override
    def task_done(self) -> None:
        self._nodes.task_done()

    @override
    def empty(self) -> bool:
        return self._nodes.empty()

    @override
    def qsize(self) -> int:
        return self._nodes.qsize()

    @override
    def dumps(self) -> str:
        raise NotImplementedError("Dify in a box pauses no run")

    @override
    def loads(self, data: str) -> None:
        raise NotImplementedError("Dify in a box pauses no run")
