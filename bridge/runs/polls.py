"""When the plugin last asked for each ticket, while it has not been told of the ticket's end."""

from bridge.store import clock


class Polls:
    """The polls of this process. Times are seconds since the epoch; in the future while a poll is under way."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def heard(self, ticket_id: str, wait: float = 0) -> None:
        """The plugin asks, or has asked, and is answered within `wait` seconds."""
        self._at[ticket_id] = clock.now() + wait

    def told(self, ticket_id: str) -> None:
        """The plugin knows the end, or nobody asks any more."""
        self._at.pop(ticket_id, None)

    def at(self, ticket_id: str) -> float:
        """Return when the plugin last asked; 0 for never."""
        return self._at.get(ticket_id, 0.0)

    def all(self) -> list[tuple[str, float]]:
        """List the tickets and when the plugin last asked for each."""
        return list(self._at.items())

    def forget_before(self, cutoff: float) -> None:
        """Forget whom nobody has asked for since `cutoff`."""
        self._at = {ticket_id: at for ticket_id, at in self._at.items() if at >= cutoff}
