"""Waits that Dify cut short: its limits as they were met, not as they are documented."""

from bridge.commands.doctor.lines import Line, failed, ok
from bridge.config import Config
from bridge.dify.errors import KilledByTimeout, RanTooLong
from bridge.store import Store

_LOOKED_AT = 500


def look_at_waits(config: Config, since: float) -> Line:
    """Return whether Dify ended one of the runs that began `since` then, for having lasted too long."""
    store = Store(config.store_url)
    try:
        runs = [run for run_id in store.run_ids()[-_LOOKED_AT:] if (run := store.run(run_id))]
    finally:
        store.close()
    errors = [run.error or "" for run in runs if run.created_at >= since]
    for kind, what in ((KilledByTimeout, "model calls"), (RanTooLong, "runs")):
        met = sum(1 for error in errors if kind.advice in error)
        if met:
            text = f"Dify does not let {what} last as long as they did: {met} of {len(errors)} runs were cut short"
            return failed("waits", text, f"{kind.advice} Then start the bridge again")
    return ok("waits", f"Dify's limits cut none of {len(errors)} runs short since the bridge was started")
