"""The executors of kind `dify`, inside the bridge: they run the tools that are picked in Dify.

Each `[[dify_tools]]` is one executor. It registers, claims and answers as any other does. Bridges that share a store
are one executor together: its id follows from its name.
"""

import json
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from bridge.config import DifyTools
from bridge.dify.tools import Key, Outcome, PickedTool, TookTooLong, ToolsEndpoint, ToolsProblem, Unanswered
from bridge.errors import BridgeError, TooLarge
from bridge.runs.executors.leases import Lease, Leases
from bridge.runs.executors.registry import OfferedTool, Registration, Registry, dify_executor_id
from bridge.runs.services import Services
from bridge.store.faults import StoreUnavailable
from tools.definitions import Function
from tools.results import ToolResult

log = logging.getLogger("clawback.dify_tools")

LIST_SECONDS = 30.0
"""How often the picked tools are listed anew."""

PAUSE_SECONDS = 5.0
"""How long nothing is tried after a problem."""

CLAIM_SECONDS = 5.0


@dataclass(slots=True)
class _Worker:
    """One executor: what it offers, and the leases that it holds."""

    settings: DifyTools
    endpoint: ToolsEndpoint
    tools: dict[str, PickedTool] = field(default_factory=dict)
    listed_at: float = float("-inf")
    problem: str = ""
    leases: dict[str, Lease] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def id(self) -> str:
        """The executor's id."""
        return dify_executor_id(self.settings.name)


class DifyExecutors:
    """Keeps an executor for each `[[dify_tools]]` of the configuration."""

    def __init__(self, services: Services, registry: Registry, leases: Leases) -> None:
        self._config = services.config
        self._store = services.store.executors
        self._registry = registry
        self._leases = leases
        self._workers: dict[str, _Worker] = {}
        self._lock = threading.Lock()

    def reconfigure(self) -> None:
        """Start those that are new in the configuration, and end those that are there no longer."""
        with self._lock:
            wanted = {settings.name: settings for settings in self._config.dify_tools}
            for name, worker in list(self._workers.items()):
                if wanted.get(name) != worker.settings:
                    worker.stopped.set()
                    del self._workers[name]
            for name in wanted.keys() - self._workers.keys():
                worker = self._workers[name] = _Worker(wanted[name], ToolsEndpoint(wanted[name]))
                threading.Thread(target=self._loop, args=(worker,), daemon=True, name=f"clawback-{name}").start()

    def stop(self) -> None:
        """Claim nothing more."""
        with self._lock:
            for worker in self._workers.values():
                worker.stopped.set()
            self._workers.clear()

    def _loop(self, worker: _Worker) -> None:
        while not worker.stopped.is_set():
            try:
                self._turn(worker)
            except StoreUnavailable:
                worker.stopped.wait(PAUSE_SECONDS)
            except Exception:
                log.exception("the tools of Dify have a problem", extra={"executor": worker.settings.name})
                worker.stopped.wait(PAUSE_SECONDS)
        while worker.leases:
            with suppress(StoreUnavailable):
                self._keep(worker)
            time.sleep(self._kept_seconds)
        if worker.settings.name not in {settings.name for settings in self._config.dify_tools}:
            with suppress(StoreUnavailable):
                self._registry.leave(worker.id)
        worker.endpoint.close()

    def _turn(self, worker: _Worker) -> None:
        """List the tools where it is time, keep the leases, and claim."""
        if time.monotonic() - worker.listed_at >= LIST_SECONDS and not self._list(worker):
            self._keep(worker)
            worker.stopped.wait(min(PAUSE_SECONDS, self._kept_seconds))
            return
        self._keep(worker)
        room = worker.settings.concurrency - len(worker.leases)
        seconds = min(CLAIM_SECONDS, self._kept_seconds)
        if room <= 0:
            worker.stopped.wait(min(seconds, 0.2))
            return
        for lease in self._leases.claim(worker.id, room, seconds):
            worker.leases[lease.lease_id] = lease
            threading.Thread(target=self._run, args=(worker, lease), daemon=True, name="clawback-dify-call").start()

    @property
    def _kept_seconds(self) -> float:
        """A lease is kept so often that one time may be missed."""
        return self._config.limits.lease_seconds / 3

    def _list(self, worker: _Worker) -> bool:
        try:
            tools = worker.endpoint.tools(self._schemas(worker))
        except ToolsProblem as problem:
            if worker.problem != str(problem):
                log.warning("the tools of Dify are out of reach: %s", problem, extra={"executor": worker.settings.name})
            worker.problem = str(problem)
            return False
        worker.problem, worker.listed_at = "", time.monotonic()
        worker.tools = {tool.definition.name: tool for tool in tools}
        registration = Registration(
            name=worker.settings.name,
            tools=[OfferedTool(function=tool.definition.function) for tool in tools],
            concurrency=worker.settings.concurrency,
        )
        self._registry.admit(worker.id, registration)
        return True

    def _schemas(self, worker: _Worker) -> dict[Key, Function]:
        """Return what `clawback dify-tools sync` has written."""
        written = self._store.schemas(worker.settings.name)
        return {tuple(json.loads(key)): Function.model_validate_json(schema) for key, schema in written.items()}

    def _keep(self, worker: _Worker) -> None:
        if worker.leases:
            self._leases.extend(worker.id, list(worker.leases))

    def _run(self, worker: _Worker, lease: Lease) -> None:
        try:
            self._answer(worker, lease, self._outcome(worker, lease))
        except Unanswered as unanswered:
            log.warning("a call was sent to Dify, and not answered: %s", unanswered, extra={"call": lease.call.id})
            with suppress(StoreUnavailable):  # Its lease ends by itself then, and that is the same.
                self._leases.give_up(lease.call.id, lease.lease_id, str(unanswered))
        except StoreUnavailable:
            pass
        except BridgeError as error:
            log.warning("a result of Dify was not taken: %s", error, extra={"call": lease.call.id})
        except Exception:
            log.exception("a call of a tool of Dify failed", extra={"call": lease.call.id})
        finally:
            worker.leases.pop(lease.lease_id, None)

    def _outcome(self, worker: _Worker, lease: Lease) -> Outcome:
        tool = worker.tools.get(lease.call.own_name)
        if tool is None:
            return Outcome("Error: the tool is no longer picked in Dify. Nothing was run.", is_error=True)
        try:
            return worker.endpoint.call(tool, lease.call.arguments, lease.call.id)
        except TookTooLong as ended:
            if worker.settings.runs_once(tool.definition.name):
                raise
            return Outcome(f"Error: {ended}. The tool may have run all the same.", is_error=True)

    def _answer(self, worker: _Worker, lease: Lease, outcome: Outcome) -> None:
        result = ToolResult(
            tool_call_id=lease.call.id, output=outcome.output, is_error=outcome.is_error, images=outcome.images
        )
        try:
            self._leases.resolve(worker.id, [(lease.lease_id, result)])
        except TooLarge as error:
            # It has run: the model learns so instead of its result.
            short = result.model_copy(update={"output": f"The tool ran, and {error.message}.", "images": []})
            self._leases.resolve(worker.id, [(lease.lease_id, short)])
