"""What was said in one conversation is heard in no other, whatever they have in common."""

import time
from pathlib import Path

from demo.stack import Stack
from tests.conversations.play import APP, Play, export

SETS = 4
STEPS = 30


def test_interleaved_conversations_never_hear_a_word_of_one_another(tmp_path: Path) -> None:
    today = int(time.strftime("%Y%m%d"))
    with Stack(tmp_path, apps=[], exports={APP: export(tmp_path)}, bridge_settings={"dify_streams": 64}) as stack:
        for number in range(SETS):
            seed = today * 1000 + number
            outcome = Play(stack, seed, number * 100).run(STEPS)
            assert outcome.upstream_requests >= outcome.conversations, "nobody was heard at all"
            assert not outcome.breaches, f"seed {seed}: {outcome.breaches}"
