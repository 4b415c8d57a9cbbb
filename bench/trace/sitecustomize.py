"""Counts the statements of every SQLite connection of this process into the file that SQLITE_TRACE names.

Each line is one statement as SQLite ran it, BEGIN and COMMIT included. Python imports this file by its name, from
PYTHONPATH.
"""

import os
import sqlite3
import sqlite3.dbapi2 as sqlite
from typing import Any

_connect = sqlite.connect


def connect(*arguments: Any, **options: Any) -> sqlite.Connection:
    connection: sqlite.Connection = _connect(*arguments, **options)
    file = os.open(os.environ["SQLITE_TRACE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    connection.set_trace_callback(lambda said: os.write(file, " ".join(said.split())[:1200].encode() + b"\n"))
    return connection


sqlite3.connect = sqlite.connect = connect  # type: ignore[assignment]
