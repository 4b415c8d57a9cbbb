"""What a client was told survives the loss of power, whenever that comes.

A copy of the store's files would prove nothing, since it sees what the disk has not got yet. So all writes and syncs of
a real bridge are noted while turns are taken, and its files are built as they would be if power was lost at each sync:
what was not synced is lost, kept or torn.
"""

import json
import os
import random
import sqlite3
import subprocess
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.store.store import Store
from demo.client import Client
from demo.local_tools import LocalTools
from demo.stack import Stack
from tests.e2e.conftest import call

pytestmark = pytest.mark.compiler

TURNS = int(os.environ.get("POWER_LOSS_TURNS", "25"))
TOLD = b"P"
HEAD = 1 + 4 * 8


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("shim") / "disk.so"
    source = Path(__file__).with_name("disk.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(built), str(source), "-ldl", "-lpthread"], check=True)
    return built


@dataclass
class Disk:
    """Files as they are on the disk for sure, and what has been done to them since."""

    files: dict[str, bytearray]
    unsynced: list[tuple[bytes, str, int, bytes]] = field(default_factory=list)

    def take(self, kind: bytes, path: str, offset: int, data: bytes) -> None:
        if kind == b"U":
            self.files.pop(path, None)
            self.unsynced = [each for each in self.unsynced if each[1] != path]
        elif kind == b"S":
            for each in self.unsynced:
                if each[1] == path:
                    done(self.files, *each)
            self.unsynced = [each for each in self.unsynced if each[1] != path]
        else:
            self.unsynced.append((kind, path, offset, data))

    def after(self, loss: str, chance: random.Random) -> dict[str, bytearray]:
        files = {path: bytearray(held) for path, held in self.files.items()}
        for kind, path, offset, data in self.unsynced if loss != "lost" else ():
            if loss == "kept" or chance.random() < 0.5:
                done(files, kind, path, offset, data)
            elif chance.random() < 0.5:
                done(files, kind, path, offset, data[: chance.randrange(len(data) + 1)])
        return files


def done(files: dict[str, bytearray], kind: bytes, path: str, offset: int, data: bytes) -> None:
    held = files.setdefault(path, bytearray())
    if kind == b"T":
        del held[offset:]
        return
    held.extend(bytes(max(0, offset - len(held))))
    held[offset : offset + len(data)] = data


def notes(log: Path) -> Iterator[tuple[bytes, str, int, bytes]]:
    read, at = log.read_bytes(), 0
    while at < len(read):
        kind = read[at : at + 1]
        length, offset, size = (int.from_bytes(read[at + 1 + 8 * n : at + 9 + 8 * n], "little") for n in range(3))
        path = read[at + HEAD : at + HEAD + length]
        at += HEAD + length
        yield kind, path.decode(), offset, read[at : at + size]
        at += size


class Told:
    """Writes down what a client was told, among what the bridge did."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def tell(self, promise: dict[str, Any]) -> None:
        data = json.dumps(promise).encode()
        numbers = b"".join(number.to_bytes(8, "little") for number in (0, 0, len(data), 0))
        with self._log.open("ab", buffering=0) as log:
            log.write(TOLD + numbers + data)


def take_turns(folder: Path, shim: Path, log: Path, monkeypatch: pytest.MonkeyPatch, **keys: str) -> bytearray:
    """Take turns with a bridge whose writes are noted; return its store as it was before."""
    store = folder / "bridge" / "bridge.sqlite3"
    Store(f"sqlite:///{store}").close()
    before = bytearray(store.read_bytes())
    for name, value in (("LD_PRELOAD", shim), ("DISK_FOLDER", folder / "bridge"), ("DISK_LOG", log)):
        monkeypatch.setenv(name, str(value))
    told = Told(log)

    def listen(kind: str, detail: Any) -> None:
        for made in detail if kind == "calls" else ():
            told.tell({"call": made["id"]})

    with Stack(folder, apps=["minimal"], bridge_keys=keys) as stack:
        for number in range(TURNS):
            client = Client(
                stack.base_url,
                stack.client_token,
                "minimal",
                LocalTools(folder),
                session=f"turn-{number % 7}-{number}",
                tell=listen,
            )
            outcome = client.ask(f"Turn {number}.\n{call('exec', command=f'echo {number}')}\n!then\n!say done")
            told.tell({"run": outcome.runs[-1]})
            client.close()
        monkeypatch.undo()
    return before


def broken(before: bytearray, store: Path, log: Path, folder: Path, left_out: Collection[bytes] = ()) -> list[str]:
    """List the promises that the loss of power would have broken, and stores that are damaged by it."""
    disk, chance = Disk({str(store): bytearray(before)}), random.Random(18)
    promises: list[dict[str, Any]] = []
    found: list[str] = []
    folder.mkdir()
    events = [*(note for note in notes(log) if note[0] not in left_out), (b"S", "the end", 0, b"")]
    for number, (kind, path, offset, data) in enumerate(events):
        if kind == TOLD:
            promises.append(json.loads(data))
            continue
        if kind == b"S" and promises and not found:
            # What is lost breaks most; what is kept or torn may damage, and takes as long to look at.
            for loss in ("lost", "kept", "torn") if number % 5 == 0 or path == "the end" else ("lost",):
                found += [f"{number} {loss}: {each}" for each in missing(disk.after(loss, chance), promises, folder)]
        disk.take(kind, path, offset, data)
    return found


def missing(files: dict[str, bytearray], promises: list[dict[str, Any]], folder: Path) -> list[str]:
    for path in folder.iterdir():
        path.unlink()
    for name, held in files.items():
        if not name.endswith("-shm"):
            (folder / Path(name).name).write_bytes(held)
    try:
        with closing(sqlite3.connect(folder / "bridge.sqlite3")) as store:
            problem = store.execute("PRAGMA quick_check(1)").fetchone()[0]
            ended = {row[0] for row in store.execute("SELECT id FROM runs WHERE state = 'finished'")}
            calls = {row[0] for row in store.execute("SELECT id FROM calls")}
    except sqlite3.DatabaseError as error:
        return [str(error)]
    lost = [
        each for each in promises if each.get("run", "") not in {*ended, ""} or each.get("call", "") not in {*calls, ""}
    ]
    return [problem] if problem != "ok" else [str(each) for each in lost]


@pytest.mark.timeout(600)
def test_what_was_told_survives_the_loss_of_power(shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    before = take_turns(tmp_path, shim, log, monkeypatch)
    kinds = [kind for kind, *_ in notes(log)]
    assert kinds.count(TOLD) == 2 * TURNS
    assert kinds.count(b"S") > 5 * TURNS
    assert broken(before, tmp_path / "bridge" / "bridge.sqlite3", log, tmp_path / "lost") == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_the_loss_of_power_is_seen_where_the_disk_is_not_waited_for(
    shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synchronous: str
) -> None:
    log = tmp_path / "log"
    before = take_turns(tmp_path, shim, log, monkeypatch, durability="process")
    # OFF is nothing that the configuration can say: the same without any sync.
    left_out = {b"S"} if synchronous == "OFF" else set()
    assert broken(before, tmp_path / "bridge" / "bridge.sqlite3", log, tmp_path / "lost", left_out)


def test_others_are_served_while_the_disk_is_slow(shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("DISK_DELAY", "300")
    slowest: list[float] = []
    with ExitStack() as ends:
        for name, value in (("LD_PRELOAD", shim), ("DISK_FOLDER", tmp_path / "bridge"), ("DISK_LOG", log)):
            monkeypatch.setenv(name, str(value))
        stack = ends.enter_context(Stack(tmp_path, apps=["minimal"]))
        over = threading.Event()

        def look() -> None:
            with httpx.Client() as other:
                while not over.is_set():
                    began = time.monotonic()
                    assert other.get(f"{stack.bridge_url}/healthz").status_code == 200
                    slowest.append(time.monotonic() - began)
                    time.sleep(0.01)

        looking = threading.Thread(target=look)
        looking.start()
        client = Client(stack.base_url, stack.client_token, "minimal", LocalTools(tmp_path), session="slow")
        began = time.monotonic()
        assert client.ask(f"Slow.\n{call('exec', command='echo x')}\n!then\n!say done").reply.text == "done"
        took = time.monotonic() - began
        over.set()
        looking.join()
        client.close()
    assert took > 1.0, "the disk was not waited for"
    assert max(slowest) < 0.25, "a request that needs no store waited for the disk"
