"""Guarded texts against OpenClaw's own functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.runs.answers.view import AnswerView
from bridge.runs.segments import Reasoning
from tests.guarded_texts.oracle import Deeds, Oracle
from tests.guarded_texts.texts import Piece, Texts
from tools.openclaw_text.guard import WORD_JOINER

AT_ONCE = 500


@dataclass(slots=True)
class Tally:
    """What came of a trial: how many texts, how many of them do something as they are, and which do when guarded."""

    texts: int = 0
    streamed: int = 0
    run_unguarded: int = 0
    order_unguarded: int = 0
    deeds_unguarded: Counter[str] = field(default_factory=Counter)
    through: list[tuple[list[Piece], list[Piece], Deeds]] = field(default_factory=list)
    altered_otherwise: list[list[Piece]] = field(default_factory=list)


def guarded(pieces: list[Piece], *, reasoning_apart: bool) -> list[Piece]:
    """Return what a client is told of an answer that comes in these pieces."""
    view = AnswerView(reasoning_apart=reasoning_apart)
    told = [event for kind, text in pieces for event in (view.feed(text) if kind == "text" else view.reasoning(text))]
    return [("reasoning" if isinstance(event, Reasoning) else "text", event.text) for event in [*told, *view.close()]]


def trial(oracle: Oracle, texts: int, seed: int, *, unguarded: bool = True) -> Iterator[Tally]:
    """Try so many texts, and yield the tally so far after some of them."""
    derived, tally = Texts(seed), Tally()
    while tally.texts < texts:
        answers = [derived.pieces(derived.text()) for _ in range(min(AT_ONCE, texts - tally.texts))]
        shown = [guarded(pieces, reasoning_apart=derived.one_in(2)) for pieces in answers]
        for pieces, told, deeds in zip(answers, shown, oracle.ask(shown), strict=True):
            tally.texts += 1
            tally.streamed += len(pieces) > 1
            if deeds:
                tally.through.append((pieces, told, deeds))
        if unguarded:
            for deeds in oracle.ask(answers):
                tally.run_unguarded += bool(deeds.runs)
                tally.order_unguarded += bool(deeds.orders)
                tally.deeds_unguarded.update((*deeds.runs, *deeds.orders))
        yield tally


def said(pieces: list[Piece]) -> str:
    """Return all the words of an answer, in the order in which they were told."""
    return "".join(text for _, text in pieces).replace(WORD_JOINER, "")
