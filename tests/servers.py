"""PostgreSQL, PgBouncer and Redis for tests that need them: processes of our own, on free ports of this machine."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from demo.stack import free_port
from tests.conftest import newest_postgresql, pgbouncer

SECONDS = 60


def stop_all(started: list[subprocess.Popen[bytes]]) -> None:
    """End all that was started, the last first."""
    while started:
        process = started.pop()
        # PostgreSQL ends at SIGINT although clients are still connected.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Servers:
    """Both servers, empty. A context manager. `options` are further ones of PostgreSQL."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="clawback-servers-"))
        self._started: list[subprocess.Popen[bytes]] = []
        self._postgres_port, self._redis_port = free_port(), free_port()
        self._databases = 0
        self._owner: dict[str, Any] = {}
        try:
            self._start_postgres()
            self._start_redis()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def redis_url(self) -> str:
        """What `wakeups_url` takes."""
        return f"redis://127.0.0.1:{self._redis_port}/0"

    def database_url(self) -> str:
        """Make an empty database and return what `database_url` takes."""
        self._databases += 1
        name = f"clawback{self._databases}"
        command = [str(self._program("createdb")), *self._address, "-U", "postgres", name]
        subprocess.run(command, check=True)
        return f"postgresql://postgres@127.0.0.1:{self._postgres_port}/{name}"

    def pooled(self, database_url: str, connections: int = 4) -> str:
        """Start a PgBouncer that gives each transaction one of so few connections; return the URL through it."""
        port = free_port()
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": connections,
            "max_client_conn": 500,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        file = self._folder / f"pgbouncer-{port}.ini"
        server = f"* = host=127.0.0.1 port={self._postgres_port} user=postgres"
        file.write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))
        self._start([str(pgbouncer()), str(file)], **self._owner)
        url = database_url.replace(f":{self._postgres_port}/", f":{port}/")
        self._wait([str(self._program("psql")), url, "-c", "SELECT 1"], "PgBouncer")
        return url

    def sentinel_url(self) -> str:
        """Start a Sentinel that names the Redis; return what `wakeups_url` takes. The first port is nobody's."""
        port = free_port()
        file = self._folder / f"sentinel-{port}.conf"
        file.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor hints 127.0.0.1 {self._redis_port} 1\n")
        self._start(["redis-server", str(file), "--sentinel"])
        self._wait(["redis-cli", "-p", str(port), "sentinel", "get-master-addr-by-name", "hints"], "the Sentinel")
        return f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/hints/0"

    def stop(self) -> None:
        """End both."""
        stop_all(self._started)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _address(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self._postgres_port)]

    @staticmethod
    def _program(name: str) -> Path:
        folder = newest_postgresql()
        assert folder is not None
        return folder / name

    def _start_postgres(self) -> None:
        """PostgreSQL refuses to run as root, and its user could not reach a folder of root's."""
        data = self._folder / "postgres"
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
            self._owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
        make = [str(self._program("initdb")), "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8"]
        subprocess.run(
            [*make, "--no-sync"],
            check=True,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            timeout=SECONDS,
            **self._owner,
        )
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._folder}"]
        options += ["-c", "fsync=off", "-p", str(self._postgres_port), *self._secure_postgres(data), *self._options]
        self._postgres = [str(self._program("postgres")), "-D", str(data), *options]
        self._run_postgres()

    def _run_postgres(self) -> None:
        self.postgres = self._start(self._postgres, **self._owner)
        self._wait([str(self._program("pg_isready")), "-q", *self._address], "PostgreSQL")

    def restart_postgres(self) -> None:
        """End PostgreSQL, whoever is connected, and start it again."""
        self._end(self.postgres)
        self._run_postgres()

    def restart_redis(self) -> None:
        """End Redis, whoever is connected, and start it again."""
        self._end(self.redis)
        self._start_redis()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._started.remove(process)
        stop_all([process])

    def _start_redis(self) -> None:
        port = str(self._redis_port)
        options, asking = self._secure_redis(port) or (["--port", port], ["-p", port])
        self.redis = self._start(["redis-server", "--bind", "127.0.0.1", "--save", "", *options])
        self._wait(["redis-cli", "-h", "127.0.0.1", *asking, "ping"], "Redis")

    def _secure_postgres(self, _data: Path) -> list[str]:
        """Return further options, once the data folder is made."""
        return []

    def _secure_redis(self, _port: str) -> tuple[list[str], list[str]] | None:
        """Return the options of a Redis that is not open to all, and those by which its client gets in."""
        return None

    def _start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(command, cwd=self._folder, stdout=nowhere, stderr=nowhere, **options)
        self._started.append(process)
        return process

    @staticmethod
    def _wait(question: list[str], name: str) -> None:
        end = time.monotonic() + SECONDS
        while subprocess.run(question, check=False, capture_output=True).returncode != 0:
            assert time.monotonic() < end, f"{name} did not start"
            time.sleep(0.1)
