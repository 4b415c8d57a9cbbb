"""The plugin in its own process, and the plugin daemon's end of its stdio protocol.

One JSON object a line. The process is ready at its first heartbeat; a request opens a session, whose chunks come back
with its id, then perhaps an error, then an end. Many sessions share one process.
Sources: the daemon's internal/core/local_runtime and internal/core/io_tunnel, the SDK's core/server.
"""

import ctypes
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from demo.box.config import Limits
from demo.box.errors import DAEMON_INNER_ERROR, DAEMON_INTERNAL_SERVER_ERROR, PLUGIN_INVOKE_ERROR, DaemonError

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
NO_INSTANCE_SECONDS = 6.0
KEPT_LOG_LINES = 1000
_PR_SET_PDEATHSIG = 1

type Packet = dict[str, Any]

type CallDify = Callable[[Packet], Iterator[Packet]]
"""Answers a plugin's call of Dify; the text of what it raises is what the plugin hears."""


class PluginStartError(RuntimeError):
    """The plugin process did not come up."""


@dataclass(slots=True)
class _Instance:
    """One operating system process and the sessions that run over it."""

    process: subprocess.Popen[bytes]
    ready: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    sessions: dict[str, queue.SimpleQueue[Packet]] = field(default_factory=dict)
    write_lock: threading.Lock = field(default_factory=threading.Lock)
    last_line_at: float = field(default_factory=time.monotonic)


class PluginProcess:
    """Keeps a plugin process running and carries invocations to it.

    When the process dies its invocations stay silent until a limit ends them, as with the daemon, and a new process is
    started; when it says nothing for `plugin_silence_seconds` it is killed.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        call_dify: CallDify | None = None,
        python: str = sys.executable,
    ) -> None:
        self._folder = folder
        self._python = python
        self._call_dify = call_dify
        self._limits = limits or Limits()
        self._instance: _Instance | None = None
        self._stopped = threading.Event()
        self.starts = 0
        self.log: deque[str] = deque(maxlen=KEPT_LOG_LINES)

    @property
    def pid(self) -> int | None:
        """The running process, or None while there is none."""
        instance = self._instance
        return instance.process.pid if instance is not None and not instance.gone.is_set() else None

    def start(self) -> None:
        """Start the process, wait until it is ready, and keep it alive from now on. Raises PluginStartError."""
        self._launch()
        threading.Thread(target=self._keep_alive, name="PluginKeeper", daemon=True).start()

    def stop(self) -> None:
        """End the process. Invocations under way hear nothing more."""
        self._stopped.set()
        instance = self._instance
        if instance is None:
            return
        instance.process.terminate()
        try:
            instance.process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            instance.process.kill()
            instance.process.wait(timeout=3)

    def invoke(
        self,
        action: str,
        data: Packet,
        *,
        app_id: str | None = None,
        kind: str = "model",
        endpoint_id: str | None = None,
    ) -> Iterator[Packet]:
        """Send one request and yield the plugin's chunks. Raises DaemonError.

        Closing the iterator closes the session: later output is dropped, and the plugin is not told.
        """
        instance = self._ready_instance()
        session_id = str(uuid.uuid4())
        packets = instance.sessions[session_id] = queue.SimpleQueue()
        try:
            self._write(instance, _request(session_id, {"type": kind, "action": action, **data}, app_id, endpoint_id))
            yield from self._chunks(instance, session_id, packets)
        finally:
            instance.sessions.pop(session_id, None)

    def _chunks(self, instance: _Instance, session_id: str, packets: queue.SimpleQueue[Packet]) -> Iterator[Packet]:
        deadline = time.monotonic() + self._limits.plugin_seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                packet = packets.get(timeout=min(left, self._limits.plugin_idle_seconds))
            except queue.Empty:
                if deadline - time.monotonic() > 0:
                    raise DaemonError(DAEMON_INNER_ERROR, "Request to Plugin Daemon Service failed-500") from None
                break
            match packet.get("type"):
                case "stream":
                    yield packet["data"]
                case "error":
                    raise DaemonError(PLUGIN_INVOKE_ERROR, json.dumps(packet["data"], ensure_ascii=False))
                case "invoke" if self._call_dify is None:
                    raise DaemonError(PLUGIN_INVOKE_ERROR, json.dumps(_NO_BACKWARDS_CALLS))
                case "invoke":
                    called = (instance, session_id, packet["data"], self._call_dify)
                    threading.Thread(target=self._answer_call, args=called, name="PluginCall", daemon=True).start()
                case "end":
                    return
        raise DaemonError(DAEMON_INTERNAL_SERVER_ERROR, "killed by timeout")

    def _answer_call(self, instance: _Instance, session_id: str, asked: Packet, call_dify: CallDify) -> None:
        def tell(event: str, message: str = "", data: Packet | None = None) -> None:
            told = {"backwards_request_id": asked["backwards_request_id"], "event": event, "message": message}
            answer = {"session_id": session_id, "event": "backwards_response", "data": {**told, "data": data}}
            with suppress(DaemonError):  # The plugin has gone: nobody waits any more.
                self._write(instance, answer)

        try:
            for message in call_dify(asked):
                tell("response", data=message)
        except Exception as error:
            tell("error", str(error))
        else:
            tell("end")

    def _ready_instance(self) -> _Instance:
        deadline = time.monotonic() + NO_INSTANCE_SECONDS
        while time.monotonic() < deadline:
            instance = self._instance
            if instance is not None and instance.ready.is_set() and not instance.gone.is_set():
                return instance
            time.sleep(0.05)
        raise DaemonError(DAEMON_INTERNAL_SERVER_ERROR, "no proper instance found")

    def _write(self, instance: _Instance, request: Packet) -> None:
        stdin = instance.process.stdin
        try:
            with instance.write_lock:
                _pipe(stdin).write(json.dumps(request, ensure_ascii=False).encode() + b"\n")
                _pipe(stdin).flush()
        except OSError as error:
            raise DaemonError(DAEMON_INTERNAL_SERVER_ERROR, f"failed to write to the plugin: {error}") from error

    def _launch(self) -> None:
        process = subprocess.Popen(
            [self._python, "-m", "main"],
            cwd=self._folder,
            env={**os.environ, "INSTALL_METHOD": "local"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=_die_with_parent(os.getpid()),
        )
        instance = _Instance(process)
        self.starts += 1
        threading.Thread(target=self._read_output, args=(instance,), name="PluginOutput", daemon=True).start()
        threading.Thread(target=self._read_errors, args=(instance,), name="PluginErrors", daemon=True).start()
        self._await_ready(instance)
        self._instance = instance

    def _await_ready(self, instance: _Instance) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not instance.ready.wait(timeout=0.05):
            if instance.gone.is_set() or time.monotonic() > deadline:
                instance.process.kill()
                said = "\n".join(list(self.log)[-20:])
                raise PluginStartError(f"the plugin in {self._folder} did not become ready; it said:\n{said}")

    def _read_output(self, instance: _Instance) -> None:
        try:
            for line in _pipe(instance.process.stdout):
                instance.last_line_at = time.monotonic()
                if line.strip():
                    self._take(instance, line)
        except (OSError, ValueError):
            logger.debug("the plugin's output was closed", exc_info=True)
        instance.process.kill()
        instance.process.wait()
        instance.gone.set()

    def _read_errors(self, instance: _Instance) -> None:
        try:
            for line in _pipe(instance.process.stderr):
                instance.last_line_at = time.monotonic()
                self._keep_line("stderr", line.decode(errors="replace").rstrip())
        except (OSError, ValueError):
            logger.debug("the plugin's error output was closed", exc_info=True)

    def _take(self, instance: _Instance, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            self._keep_line("stdout", line.decode(errors="replace").rstrip())
            return
        match message:
            case {"event": "session", "session_id": str(session_id), "data": dict(packet)}:
                packets = instance.sessions.get(session_id)
                if packets is not None:
                    packets.put(packet)
            case {"event": "heartbeat"}:
                instance.ready.set()
            case {"event": "log", "data": {"level": level, "message": text}}:
                self._keep_line(str(level), str(text))
            case {"event": "error"}:
                self._keep_line("protocol error", json.dumps(message))

    def _keep_line(self, kind: str, text: str) -> None:
        self.log.append(f"{kind}: {text}")
        logger.debug("plugin %s: %s", kind, text)

    def _keep_alive(self) -> None:
        while not self._stopped.wait(timeout=min(1.0, self._limits.plugin_restart_seconds)):
            instance = self._instance
            if instance is None:
                continue
            if instance.gone.is_set():
                self._relaunch()
            elif time.monotonic() - instance.last_line_at > self._limits.plugin_silence_seconds:
                logger.warning("the plugin process said nothing for too long and is killed")
                instance.process.kill()

    def _relaunch(self) -> None:
        if self._stopped.wait(timeout=self._limits.plugin_restart_seconds):
            return
        logger.warning("the plugin process died and is started again")
        try:
            self._launch()
        except PluginStartError:
            logger.exception("the plugin process could not be started again")


_NO_BACKWARDS_CALLS = {
    "error_type": "invoke_dify_error",
    "message": "invoke dify failed: you can not invoke dify from model",
}


def _request(session_id: str, data: Packet, app_id: str | None, endpoint_id: str | None) -> Packet:
    return {
        "session_id": session_id,
        "conversation_id": None,
        "message_id": None,
        "app_id": app_id,
        "endpoint_id": endpoint_id,
        "context": {},
        "event": "request",
        "data": data,
    }


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101 - Popen was asked for all three pipes
    return pipe


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """Linux ends the child with its parent, however that ends: the SDK would spin on its closed stdin for ever.

    The parent is the thread that starts the child, so it must be one that lasts: under gevent it is the only one.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def set_up() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return set_up
