"""What survives: sessions, runs, segments, invocations, tickets, calls.

schema      the tables
store       every statement, each with a sentence above it
lock        keeps a second bridge away from a SQLite store
clock       the time by which the bridge waits, without the jumps of the machine's
"""

from bridge.store.store import Store

__all__ = ["Store"]
