"""Who runs calls, and with which tools."""

import json
from collections.abc import Sequence

from bridge.page.rendering import Piece, render
from bridge.page.views.views import Mark, Parts, View, Visitor
from bridge.runs.executors.registry import offers_of


def executors_view(parts: Parts, visitor: Visitor) -> View:
    """Return the page of the executors."""
    store = parts.runs.store.executors

    def present() -> set[str]:
        return {executor.id for executor in parts.registry.present()}

    def mark() -> Mark:
        known = tuple((each.id, each.tools, each.patterns) for each in store.all())
        return (known, tuple(sorted(present())), tuple(sorted(store.loads().items())))

    def pieces() -> Sequence[Piece]:
        here, loads, executors = present(), store.loads(), store.all()
        cards = [
            Piece(
                f"executor-{executor.id}",
                render(
                    "executor.html",
                    visitor.t,
                    executor=executor,
                    present=executor.id in here,
                    load=loads.get(executor.id, 0),
                    patterns=json.loads(executor.patterns),
                    offers=offers_of(executor),
                ),
            )
            for executor in executors
        ]
        return [*cards, Piece("@foot", render("executors_foot.html", visitor.t, empty=not executors))]

    return View("executors", visitor.t("executors.title"), mark, pieces)
