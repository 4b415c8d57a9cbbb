"""Dify's own plugin daemon with a PostgreSQL and a Redis of its own, on free loopback ports.

Nothing of it is part of this repository, and its Go module cannot be installed from the module proxy. A folder that
holds its two programs, `main` and `commandline` as Dify's image has them in /app, is named by CLAWBACK_DAEMON or is
.cache/daemon. PostgreSQL and Redis are Debian's packages.
"""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from demo.stack import ROOT, free_port
from tests.servers import stop_all

PATIENCE_SECONDS = 240
WORKSPACE = "11111111-1111-4111-8111-111111111111"
PLUGIN = "clawback/clawback"


def missing() -> str | None:
    """Say what of the daemon's parts this machine lacks."""
    if not all((programs() / name).exists() for name in ("main", "commandline")):
        return "Dify's plugin daemon is not here: CLAWBACK_DAEMON names a folder with its `main` and `commandline`"
    if not _postgres("initdb") or not shutil.which("redis-server"):
        return "the daemon needs PostgreSQL and Redis: apt-get install postgresql redis-server"
    return None


def programs() -> Path:
    return Path(os.environ.get("CLAWBACK_DAEMON") or ROOT / ".cache/daemon")


def _postgres(name: str) -> str | None:
    found = [str(path) for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    return sorted(found)[-1] if found else shutil.which(name)


def wait_until(ready: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := ready():
                return value
        except (OSError, httpx.HTTPError):
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{what} did not come within {seconds} s")


class Daemon:
    """A daemon that runs in `folder`, for `execution_seconds` an invocation."""

    def __init__(self, folder: Path, execution_seconds: int) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._postgres_folder: Path | None = None
        self.key = secrets.token_urlsafe(24)
        self.url = f"http://127.0.0.1:{free_port()}"
        self._http = httpx.Client(headers={"X-Api-Key": self.key}, timeout=60, trust_env=False)
        try:
            self._environ = self._environment(self._start_postgres(), self._start_redis(), execution_seconds)
            subprocess.run([programs() / "commandline", "migrate"], cwd=folder, env=self._environ, check=True)
            self._daemon = self._start("daemon", [str(programs() / "main")], env=self._environ)
            wait_until(lambda: self._http.get(f"{self.url}/health/check").is_success, "the daemon")
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """What `python -m demo.box --daemon` takes."""
        return f"{self.url},{self.key},{WORKSPACE}"

    @property
    def plugin_pid(self) -> int | None:
        """The process that runs the plugin, when there is one."""
        threads = Path(f"/proc/{self._daemon.pid}/task").glob("*/children")
        children = [Path("/proc", pid) for path in threads for pid in path.read_text().split()]
        found = [int(child.name) for child in children if b"-m\0main" in (child / "cmdline").read_bytes()]
        return found[0] if found else None

    def install(self, package: bytes) -> None:
        """Install the package and wait until the daemon has built its environment and the plugin is ready."""
        management = f"{self.url}/plugin/{WORKSPACE}/management/install"
        files = {"dify_pkg": ("clawback.difypkg", package)}
        uploaded = self._answer(self._http.post(f"{management}/upload/package", files=files))
        chosen = {"plugin_unique_identifiers": [uploaded["unique_identifier"]], "source": "package", "metas": [{}]}
        task = self._answer(self._http.post(f"{management}/identifiers", json=chosen))["task_id"]

        def ended() -> Any:
            state = self._answer(self._http.get(f"{management}/tasks/{task}"))
            return state if state["status"] in {"success", "failed"} else None

        state = wait_until(ended, "the plugin's installation")
        assert state["status"] == "success", [plugin["message"] for plugin in state["plugins"]]

    @staticmethod
    def _answer(response: httpx.Response) -> Any:
        answer = response.json()
        assert answer["code"] == 0, answer["message"]
        return answer["data"]

    def stop(self) -> None:
        """End all that was started, the last first."""
        self._http.close()
        stop_all(self._started)
        if self._postgres_folder:
            shutil.rmtree(self._postgres_folder)

    def _start(self, name: str, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **options)
        self._started.append(process)
        return process

    def _start_postgres(self) -> int:
        """PostgreSQL refuses to run as root, and its user could not reach a folder of root's."""
        port, folder = free_port(), Path(tempfile.mkdtemp(prefix="postgres-"))
        self._postgres_folder = folder
        owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
            owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
        made = [str(_postgres("initdb")), "-D", str(folder), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"]
        subprocess.run(made, check=True, cwd=folder, stdout=subprocess.DEVNULL, **owner)
        listening = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        self._start("postgres", [str(_postgres("postgres")), "-D", str(folder), "-p", str(port), *listening], **owner)
        ready = [str(_postgres("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, "PostgreSQL", 60)
        return port

    def _start_redis(self) -> int:
        port = free_port()
        self._start("redis", ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""])
        return port

    def _environment(self, postgres: int, redis: int, execution_seconds: int) -> dict[str, str]:
        uv = shutil.which("uv", path=f"{ROOT / '.cache/uv/bin'}:{os.environ['PATH']}") or "uv"
        # The daemon makes the plugin's environment with `uv venv --python 3.12`.
        python = Path(os.path.realpath(ROOT / ".venv/bin/python"))
        return {
            **os.environ,
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "UV_PATH": uv,
            "PYTHON_INTERPRETER_PATH": str(python),
            "PIP_MIRROR_AUTO_DETECT": "false",
            "PLATFORM": "local",
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": self.url.rpartition(":")[2],
            "SERVER_KEY": self.key,
            "DIFY_INNER_API_URL": "http://127.0.0.1:9",
            "DIFY_INNER_API_KEY": "unused",
            "PLUGIN_REMOTE_INSTALLING_ENABLED": "false",
            "FORCE_VERIFYING_SIGNATURE": "false",
            "PLUGIN_MAX_EXECUTION_TIMEOUT": str(execution_seconds),
            "PLUGIN_STORAGE_TYPE": "local",
            "PLUGIN_WORKING_PATH": str(self._folder / "cwd"),
            "DB_USERNAME": "postgres",
            "DB_PASSWORD": "unused",
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(postgres),
            "DB_DATABASE": "dify_plugin",
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis),
        }
