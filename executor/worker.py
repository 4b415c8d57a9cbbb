"""The loop of an executor: claim calls, run them, keep their leases, post their results."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from executor.connection import BridgeRefused, BridgeUnreachable, Connection
from executor.toolbox import LeasedCall, Toolbox
from tools.results import ToolResult

log = logging.getLogger("clawback.executor")

WAIT_SECONDS = 20.0
LONGEST_PAUSE = 10.0
REMEMBERED_RESULTS = 500
DRAIN_SECONDS = 10.0
RIVAL_SECONDS = 20.0
"""An executor that loses its name so soon after it took it has a rival of the same name."""


class WorkerStopped(Exception):
    """The worker cannot go on; the text says what to change."""


@dataclass
class _Running:
    call: LeasedCall
    lease_id: str


class Worker:
    """Runs the calls of a toolbox. `on_ready` is called whenever the bridge has taken the registration."""

    def __init__(
        self,
        connection: Connection,
        toolbox: Toolbox,
        name: str,
        *,
        patterns: list[str] | None = None,
        concurrency: int = 4,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._bridge = connection
        self._toolbox = toolbox
        self._name = name
        self._patterns = patterns or ["*"]
        self._concurrency = concurrency
        self._on_ready = on_ready
        self._id = ""
        self._lease_seconds = 60.0
        self._wait_seconds = WAIT_SECONDS
        self._registered_at = 0.0
        self._offered: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._running: dict[str, _Running] = {}
        self._takes_calls = True
        self._results: OrderedDict[str, ToolResult] = OrderedDict()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. Raises WorkerStopped."""
        keeper = threading.Thread(target=self._keep, args=(stop,), daemon=True, name="clawback-leases")
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="clawback-call") as pool:
            self._persist(self._register, stop)
            keeper.start()
            while not stop.is_set():
                for call in self._persist(self._claim, stop) or ():
                    self._start(pool, call)
            keeper.join()

    # Being there

    def _register(self) -> None:
        if self._id and time.monotonic() - self._registered_at < RIVAL_SECONDS:
            raise WorkerStopped(
                f"another executor named {self._name!r} took over: give each a name of its own (--name)"
            )
        self._offered = self._toolbox.definitions()
        answer = self._bridge.register(self._name, self._offered, self._patterns, self._concurrency)
        self._id = answer["executor_id"]
        self._registered_at = time.monotonic()
        self._lease_seconds = answer["lease_seconds"]
        self._wait_seconds = min(WAIT_SECONDS, answer["max_wait_seconds"], answer["heartbeat_seconds"])
        log.info("registered", extra={"executor": self._name, "tools": len(self._offered)})
        self._on_ready()

    def _persist[Answer](self, work: Callable[[], Answer], stop: threading.Event) -> Answer | None:
        """Try until it works. Only what trying again cannot mend ends the worker."""
        pause = 0.2
        while not stop.is_set():
            try:
                return work()
            except BridgeUnreachable as error:
                log.warning("%s", error)
            except BridgeRefused as error:
                if error.code == "executor_unknown":
                    work_first: Callable[[], Any] = self._register
                    self._persist(work_first, stop)
                    continue
                if error.status != 429:
                    raise WorkerStopped(str(error)) from None
            stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        return None

    # Calls

    def _claim(self) -> list[LeasedCall]:
        offered = self._toolbox.definitions()
        if offered != self._offered:
            self._bridge.offer(self._id, offered)
            self._offered = offered
        with self._changed:
            free = self._concurrency - len(self._running)
            if free <= 0:
                self._changed.wait(1.0)
                return []
        return self._bridge.claim(self._id, free, self._wait_seconds)

    def _start(self, pool: ThreadPoolExecutor, call: LeasedCall) -> None:
        with self._changed:
            if not self._takes_calls:
                # The bridge hands it out again, since this executor leaves.
                return
            running = self._running.get(call.tool_call_id)
            if running:
                # The lease was lost while the call still runs: what comes out of it counts under the new one.
                running.lease_id = call.lease_id
                return
            self._running[call.tool_call_id] = _Running(call, call.lease_id)
        pool.submit(self._work, call)

    def _work(self, call: LeasedCall) -> None:
        try:
            result = self._results.get(call.tool_call_id) or self._run(call)
            self._results[call.tool_call_id] = result
            while len(self._results) > REMEMBERED_RESULTS:
                self._results.popitem(last=False)
            self._post(call, result)
        except Exception:
            log.exception("a call's result could not be handed in", extra={"call": call.tool_call_id})
        finally:
            with self._changed:
                del self._running[call.tool_call_id]
                self._changed.notify_all()

    def _run(self, call: LeasedCall) -> ToolResult:
        began = time.monotonic()
        try:
            result = self._toolbox.run(call)
        except BaseException as error:
            # A tool that ends its program ends nothing here: what would be left is a lease without an answer. Ctrl-C
            # ends the executor by its first thread.
            log.exception("a tool failed", extra={"call": call.tool_call_id, "tool": call.name})
            result = call.result(f"Error: {type(error).__name__}: {_words(error)}", is_error=True)
        seconds = round(time.monotonic() - began, 3)
        log.info("call run", extra={"call": call.tool_call_id, "tool": call.name, "seconds": seconds})
        return result

    def _post(self, call: LeasedCall, result: ToolResult) -> None:
        pause = 0.2
        end = time.monotonic() + 10 * self._lease_seconds
        while time.monotonic() < end:
            try:
                with self._changed:
                    lease_id = self._running[call.tool_call_id].lease_id
                self._bridge.post(self._id, lease_id, result)
            except BridgeUnreachable as error:
                log.warning("%s", error)
            except BridgeRefused as error:
                if error.status == 413:
                    result = call.result(f"Error: {error}", is_error=True)
                    continue
                if error.code != "executor_unknown":
                    log.warning("a result was refused", extra={"call": call.tool_call_id, "error": str(error)})
                    return
            else:
                return
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        log.error("a result was never taken", extra={"call": call.tool_call_id})

    def _keep(self, stop: threading.Event) -> None:
        """Prolong leases until `stop` is set, and sign off then: that ends a claim which still waits for calls."""
        while not stop.wait(self._lease_seconds / 3):
            with self._changed:
                leases = [running.lease_id for running in self._running.values()]
            if not leases:
                continue
            try:
                lost = self._bridge.extend(self._id, leases)
            except (BridgeRefused, BridgeUnreachable) as error:
                log.warning("leases were not extended: %s", error)
                continue
            if lost:
                log.warning("leases were lost", extra={"leases": len(lost)})
        self._drain()

    def _drain(self) -> None:
        with self._changed:
            self._takes_calls = False
            self._changed.wait_for(lambda: not self._running, DRAIN_SECONDS)
        try:
            self._bridge.leave(self._id)
        except (BridgeRefused, BridgeUnreachable) as error:
            log.info("did not sign off: %s", error)


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(it cannot be told)"
