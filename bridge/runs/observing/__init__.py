"""Metrics and traces hear of runs here, without the core knowing them.

observers        what can be heard
observed_store   the store, which tells what it writes, and figures of the moment
"""
