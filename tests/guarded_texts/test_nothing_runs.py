"""No answer of a chatflow runs anything in the real OpenClaw, nor orders anything, however it is cut."""

import time

import pytest

from tests.guarded_texts.oracle import Oracle
from tests.guarded_texts.trial import trial

TEXTS = 1500


@pytest.mark.openclaw
def test_no_guarded_text_runs_or_orders_anything() -> None:
    seed = int(time.strftime("%Y%m%d"))
    with Oracle() as oracle:
        *_, tally = trial(oracle, TEXTS, seed)
    assert tally.run_unguarded > TEXTS // 50, "the oracle finds nothing to run in what is not guarded"
    assert tally.order_unguarded > TEXTS // 10
    assert not tally.through, f"seed {seed}: {tally.through[:3]}"
