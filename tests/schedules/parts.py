"""The real parts that all schedules share, and what can be done to them."""

import contextlib
import json
import math
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from bridge import cli
from bridge.store.store import Store
from demo.service import Service, children
from demo.stack import ROOT, Stack
from tests.e2e.conftest import export_with
from tests.e2e.test_two_bridges import start_second
from tests.schedules import unfenced
from tests.schedules.plan import APPS, Fault
from tests.servers import Servers

WAITS = {"holds": 600, "lets_go_soon": 1, "lets_go_at_once": 0}
BRIDGE = {
    "keepalive_seconds": 0.5,
    "grace_seconds": 1.5,
    "lease_seconds": 1,
    "dify_streams": 100,
    "handouts": 50,
    "identical_calls": 1000,
    "sweep_seconds": 0.5,
    "forsaken_seconds": 15,
}
BOX = ["--plugin-idle-seconds", "12", "--plugin-restart-seconds", "0.2"]
EXECUTORS = 2
CALLS_AT_ONCE = 16
SLEEP_SECONDS = 2.5
SERVER_SLEEP_SECONDS = 10
GONE_SECONDS = 60
NAME = re.compile(r"s\d+n\d+p")
"""What the names of a schedule's parties begin with; all that they say contains it."""
NOBODY = "nobody"


@dataclass
class Kill:
    """A fault, from when it began until it is over, in time.monotonic()."""

    what: Fault
    began: float
    ended: float = math.inf


class Parts:
    """Scripted upstream, bridge, Dify in a box with the plugin's process, executors. A context manager.

    Many schedules may be played on them at once.
    """

    def __init__(self, *, shared: bool = False, fenced: bool = True) -> None:
        self.shared = shared
        self._ends = contextlib.ExitStack()
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.diary = folder / "diary.jsonl"
        self.diary.touch()
        exports = {app: export_with(folder, "minimal", callback_wait_seconds=WAITS[app]) for app in APPS}
        self.servers = self._ends.enter_context(Servers()) if shared else None
        keys = {}
        if self.servers:
            keys = {"database_url": self.servers.database_url(), "wakeups_url": self.servers.redis_url}
        self.stack = Stack(folder, apps=[], exports=exports, bridge_keys=keys, bridge_settings=BRIDGE, box_options=BOX)
        self.second = start_second(folder, self.stack) if shared else None
        for bridge in [] if fenced else filter(None, (self.stack.bridge, self.second)):
            bridge.stop()
            bridge.command = [unfenced.__name__ if part == cli.__name__ else part for part in bridge.command]
            bridge.start()
        self.kills: list[Kill] = []
        self._killing, self._reading = threading.Lock(), threading.RLock()
        self._whose: dict[str, str] = {}
        self._made = 0
        try:
            self._store_url = str(keys.get("database_url", self.stack.store_url))
            self._store = Store(self._store_url)
            self._executors = [self._start_executor() for _ in range(0 if shared else EXECUTORS)]
        except BaseException:
            self.stack.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for executor in self._executors:
            executor.kill()
        self._store.close()
        if self.second:
            self.second.stop()
        self.stack.stop()
        self._ends.close()
        self._folder.cleanup()

    @property
    def base_urls(self) -> list[str]:
        """Where clients may ask."""
        return [self.stack.base_url, *([str(self.second.ready["base_url"])] if self.second else [])]

    def _start_executor(self) -> Service:
        self._made += 1
        name = f"digger{self._made}"
        environ = {
            "CLAWBACK_BRIDGE": self.stack.bridge_url,
            "CLAWBACK_EXECUTOR_TOKEN": self.stack.executor_token,
            "SCHEDULES_DIARY": str(self.diary),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "bridge.cli", "executor", "python", "tests.schedules.tools"]
        log = self.stack.folder / f"{name}.log"
        options = ["--json", "--name", name, "--concurrency", str(CALLS_AT_ONCE)]
        return Service(name, [*command, *options], log, environ)

    # What goes wrong

    def kill(self, what: Fault, pause: float) -> None:
        """Kill with SIGKILL, and start again after a pause. One thing is killed at a time."""
        away = self._reading if what.startswith("postgres") else contextlib.nullcontext()
        with self._killing, away:
            kill = Kill(what, time.monotonic())
            self.kills.append(kill)
            try:
                self._acts(pause)[what]()
            finally:
                kill.ended = time.monotonic()
            if what.startswith("postgres"):
                # Connections of before ended with it.
                self._store.close()
                self._store = Store(self._store_url)

    def faults_since(self, moment: float) -> set[Fault]:
        """Return what was being killed then, or was killed later."""
        return {kill.what for kill in self.kills if kill.ended >= moment}

    def quiet_since(self) -> float:
        """Return when the last fault was over: infinity if one is under way."""
        return max((kill.ended for kill in self.kills), default=0)

    def _acts(self, pause: float) -> dict[Fault, Callable[[], None]]:
        bridge, box = self.stack.bridge, self.stack.box
        acts: dict[Fault, Callable[[], None]] = {
            "bridge": lambda: self._again(pause, bridge),
            "everything": lambda: self._again(pause, bridge, box),
            "bridge_worker": self._kill_worker,
            "bridge_sleeps": lambda: _sleep(SLEEP_SECONDS, bridge.pid, *children(bridge.pid)),
            "plugin": self._kill_plugin,
            "plugin_sleeps": lambda: _sleep(SLEEP_SECONDS, self._plugin_pid()),
            "dify_sleeps": lambda: _sleep(SLEEP_SECONDS, box.pid),
            "executor": lambda: self._replace_executor(pause),
        }
        second, servers = self.second, self.servers
        if second and servers:
            acts |= {
                "second": lambda: self._again(pause, second),
                "second_sleeps": lambda: _sleep(SLEEP_SECONDS, second.pid, *children(second.pid)),
                "postgres": servers.restart_postgres,
                "postgres_sleeps": lambda: _sleep(
                    SERVER_SLEEP_SECONDS, servers.postgres.pid, *children(servers.postgres.pid)
                ),
                "redis": servers.restart_redis,
                "redis_sleeps": lambda: _sleep(SERVER_SLEEP_SECONDS, servers.redis.pid),
            }
        return acts

    def _replace_executor(self, pause: float) -> None:
        self._executors.pop(0).kill()
        time.sleep(pause)
        self._executors.append(self._start_executor())

    def _plugin_pid(self) -> int:
        # The box has no plugin process for a moment after each kill.
        return int(wait_until(lambda: self.state()["plugin"]["pid"], "the plugin's process came back"))

    @staticmethod
    def _again(pause: float, *services: Service) -> None:
        for service in services:
            service.kill()
        time.sleep(pause)
        for service in services:
            service.start()

    def _kill_worker(self) -> None:
        for worker in children(self.stack.bridge.pid):
            _kill(worker)
        wait_until(self._answers, "the bridge's worker came back")

    def _kill_plugin(self) -> None:
        _kill(self._plugin_pid())

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.stack.bridge_url}/healthz").status_code == 200
        return False

    def plugin_was_killed(self, since: float) -> bool:
        """Return whether invocations ended without a word."""
        return bool(self.faults_since(since) & {"plugin", "everything", "plugin_sleeps", "dify_sleeps"})

    # What can be seen

    @contextlib.contextmanager
    def reading(self) -> Iterator[Store]:
        """Give the bridges' store, which stays there meanwhile."""
        with self._reading:
            yield self._store

    def runs_of(self, name: str) -> list[str]:
        """Return the runs that a schedule's requests, or the calls that it made executors run, belong to."""
        with self.reading() as store:
            for run_id in store.run_ids():
                words = "" if run_id in self._whose else _words(store, run_id) or self._person(run_id)
                if words:
                    self._whose[run_id] = whose.group() if (whose := NAME.search(words)) else NOBODY
        return [run_id for run_id, whose in self._whose.items() if whose == name]

    def _person(self, run_id: str) -> str:
        """Return who chats in an executors' run that made no call yet, as Dify knows it; nothing while it is away."""
        run = self._store.run(run_id)
        end_user = json.loads(run.request)["end_user"] if run else ""
        try:
            for app in self.stack.apps:
                headers = {"Authorization": f"Bearer {self.stack.app_key(app)}"}
                response = httpx.get(f"{self.stack.dify_url}/end-users/{end_user}", headers=headers)
                if response.status_code == 200:
                    return str(response.json()["session_id"])
        except httpx.HTTPError:
            return ""
        return NOBODY

    def nobodys_runs(self) -> list[str]:
        """Return the runs that belong to no schedule. Who chatted with a Dify that was killed since, nobody knows."""
        with self.reading() as store:
            self.runs_of(NOBODY)
            runs = filter(None, map(store.run, store.run_ids()))
            known = {"executor"} if "everything" in self.faults_since(0) else set()
            return [run.id for run in runs if self._whose.get(run.id, NOBODY) == NOBODY and run.direction not in known]

    def unfinished(self, run_ids: list[str], *, given_up: bool) -> list[str]:
        """Say which of these runs and their tickets are open.

        `given_up`: Dify gave up on an invocation without the bridge or the plugin hearing of it. An executors' run is
        known to be over then only when it could not live any longer, or waits for someone to ask again.
        """
        found = []
        with self.reading() as store:
            for run in filter(None, map(store.run, run_ids)):
                for ticket in store.tickets_of_run(run.id, "open"):
                    found.append(f"ticket {ticket.id} of run {run.id} ({run.direction}) was left open")
                silent = run.direction == "executor" and given_up
                if run.state in {"running", "suspended"} and not silent:
                    found.append(f"run {run.id} ({run.direction}) was left {run.state}, in attempt {run.attempt}")
        return found

    def state(self) -> dict[str, Any]:
        """Return the box's state."""
        found: dict[str, Any] = httpx.get(f"{self.stack.box_url}/box/state", timeout=GONE_SECONDS).json()
        return found

    def upstream_log(self, containing: str = "") -> list[dict[str, Any]]:
        """Return what the upstream was asked with this text in it; it remembers 2,000 requests."""
        response = httpx.get(self.stack.log_url, params={"containing": containing}, timeout=GONE_SECONDS)
        found: list[dict[str, Any]] = response.json()
        return found


def _words(store: Store, run_id: str) -> str:
    """Return what a client asked in a run, or what executors were asked."""
    run = store.run(run_id)
    calls = [call.arguments for ticket in store.tickets_of_run(run_id) for call in ticket.calls]
    return " ".join([*([run.request] if run and run.direction == "endpoint" else []), *calls])


def _sleep(seconds: float, *pids: int) -> None:
    """Stop processes, and wake them."""
    for pid in pids:
        _signal(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        _signal(pid, signal.SIGCONT)


def _kill(pid: int) -> None:
    _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_until[Found](look: Any, what: str, seconds: float = GONE_SECONDS) -> Any:
    """Return what `look` finds as soon as it finds something. Raises AssertionError when the time is up."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)
    return found
