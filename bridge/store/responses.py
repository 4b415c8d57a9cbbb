"""The statements about responses: what `/v1/responses` keeps of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.exchanges import Learned, Piece, digest_of
from bridge.store.store import Store

LONGEST_CHAIN = 10_000


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """One response. `request` and `answer` are JSON; `answer` is None until the response has ended.

    `input` names its items: `Responses.input` returns them.
    """

    id: str
    previous_id: str | None
    model: str
    run_id: str
    segment: int
    request: str
    input: str
    answer: str | None
    created_at: float
    client: str = "default"


_COLUMNS = [t.responses.c[name] for name in ResponseRow.__slots__]


class Responses:
    """The responses that clients may come back to."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def insert(self, row: ResponseRow, session_key: str, items: Sequence[Piece]) -> None:
        """Write a new response; its session keeps each of its input items once."""
        # Those of the session's runs have numbers of their own.
        session = digest_of(f"responses {session_key}")
        values = {name: getattr(row, name) for name in ResponseRow.__slots__}

        def write(connection: Connection) -> tuple[None, Learned]:
            values["input"], learned = self._store.pieces.keep_list(connection, session, items)
            connection.execute(insert(t.responses).values(updated_at=row.created_at, **values))
            return None, learned

        self._store.keeping(session, write)

    def input(self, row: ResponseRow) -> str:
        """Return the input items, as JSON."""
        return self._store.pieces.whole_list(row.input)

    def find(self, response_id: str, client: str) -> ResponseRow | None:
        """Find the response with this id, if it is this client's."""
        own = (t.responses.c.id == response_id, t.responses.c.client == client)
        with self._store.reading() as connection:
            row = connection.execute(select(*_COLUMNS).where(*own)).first()
            return ResponseRow(**row._mapping) if row else None

    def chain(self, response_id: str, client: str) -> list[ResponseRow]:
        """List the response and those that it continues, oldest first. Empty where one of them is missing."""
        rows: list[ResponseRow] = []
        next_id: str | None = response_id
        while next_id is not None and len(rows) < LONGEST_CHAIN:
            row = self.find(next_id, client)
            if row is None:
                return []
            rows.append(row)
            next_id = row.previous_id
        return rows[::-1]

    def keep(self, response_ids: Sequence[str]) -> None:
        """Note that these are still in use."""
        with self._store.transaction() as connection:
            connection.execute(
                update(t.responses).where(t.responses.c.id.in_(response_ids)).values(updated_at=clock.now())
            )

    def end(self, response_id: str, answer: str) -> None:
        """Write how the response ended, once."""
        with self._store.transaction() as connection:
            connection.execute(
                update(t.responses)
                .where(t.responses.c.id == response_id, t.responses.c.answer.is_(None))
                .values(answer=answer, updated_at=clock.now())
            )

    def delete(self, response_id: str, client: str) -> bool:
        """Forget the response and say whether there was one of this client's."""
        own = (t.responses.c.id == response_id, t.responses.c.client == client)
        with self._store.transaction() as connection:
            return connection.execute(delete(t.responses).where(*own)).rowcount == 1

    def forget_before(self, cutoff: float) -> int:
        """Delete what was last used before `cutoff`, and say how many that were."""
        with self._store.transaction() as connection:
            return connection.execute(delete(t.responses).where(t.responses.c.updated_at < cutoff)).rowcount
