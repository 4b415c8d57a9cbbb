"""What survives: sessions, runs, segments, invocations, tickets, calls.

schema      the tables
store       every statement, each with a sentence above it
"""

from bridge.store.store import Store

__all__ = ["Store"]
