"""Waits that Dify cut short: its limits as they were met, not as they are documented."""

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from bridge.commands.doctor.lines import Line, failed, ok
from bridge.config import Config
from bridge.dify.errors import KilledByTimeout, RanTooLong
from bridge.store import schema as t
from bridge.store.engine import reading_engine_of
from bridge.store.upgrade import refused

_LOOKED_AT = 500


def look_at_waits(config: Config, since: float) -> Line:
    """Return whether Dify ended one of the runs that began `since` then, for having lasted too long."""
    newest = select(t.runs.c.error).where(t.runs.c.created_at >= since).order_by(t.runs.c.created_at.desc())
    engine = reading_engine_of(config.store_url)
    try:
        with engine.connect() as connection:
            errors = [error or "" for error in connection.execute(newest.limit(_LOOKED_AT)).scalars()]
    except SQLAlchemyError as error:
        return failed("waits", *str(refused(config.store_url, error)).rsplit(". ", 1))
    finally:
        engine.dispose()
    for kind, what in ((KilledByTimeout, "model calls"), (RanTooLong, "runs")):
        met = sum(1 for error in errors if kind.advice in error)
        if met:
            text = f"Dify's time limits cut {what} short in {met} of {len(errors)} runs"
            return failed("waits", text, f"{kind.advice} Then start the bridge again")
    return ok("waits", f"none of {len(errors)} runs was cut short by Dify's limits since the bridge started")
