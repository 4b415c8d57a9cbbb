"""What runs have told their clients, as the store has it."""

from bridge.runs.answers.view import AnswerView, form_of, view_of
from bridge.runs.requests import Reply, RunRequest
from bridge.runs.segments import Calls, End, Event, Reasoning, Segment, read_citations, text_of
from bridge.runs.services import Services
from bridge.runs.sessions.sessions import Past, exchange_after
from bridge.store.rows import RunRow, SegmentRow, TicketRow
from bridge.store.run_record import RunRecord
from tools.calls import assistant_message
from tools.wire import Usage


class Recorded:
    """Reads segments once more."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store

    def segment(self, run_id: str, number: int) -> Segment | None:
        """Return a complete segment, as it was told."""
        row = next((row for row in self._store.segments(run_id) if row.number == number), None)
        if row is None:
            return None
        segment = Segment(number)
        if run := self._store.run(run_id):
            ticket = self._store.ticket(row.ticket_id) if row.ticket_id else None
            request = self._services.requests.of(run)
            segment.add(*_events_of(row, ticket, self._view(run, request)))
        return segment

    def past_of(self, request: RunRequest, record: RunRecord) -> Past:
        """Return what the client's transcript will say of its past, once the user says more: as it was delivered."""
        messages = list(request.messages)
        for row in record.segments.values():
            ticket = record.tickets.get(row.ticket_id or "")
            told = _events_of(row, ticket, self._view(record.run, request))
            messages.append(assistant_message(text_of(told), []))
            if ticket and ticket.reply:
                messages += Reply.model_validate_json(ticket.reply).messages
        return exchange_after(messages)

    def _view(self, run: RunRow, request: RunRequest) -> AnswerView:
        return view_of(self._services.apps.get(run.model), run.auxiliary, form_of(request))


def _events_of(row: SegmentRow, ticket: TicketRow | None, view: AnswerView) -> list[Event]:
    told: list[Event] = [Reasoning(row.reasoning)] if row.reasoning else []
    told += [*view.feed(row.text), *view.close()]
    if ticket:
        told.append(Calls(tuple(ticket.handed_out()), ticket.reasoning_details()))
    usage = Usage.model_validate_json(row.usage)
    return [*told, End(row.finish_reason, usage, citations=read_citations(row.citations))]
