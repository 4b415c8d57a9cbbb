"""What a model is given of a result that is too long: its beginning, its end, and word of what is missing."""

_NOTE = "\n\n[{cut} of {whole} characters were cut out here. Ask for the part that matters, if it is among them.]\n\n"


def shortened(text: str, limit: int) -> str:
    """Return `text` in at most `limit` characters, the note aside; cut at line ends where some are near."""
    if len(text) <= limit:
        return text
    half = limit // 2
    head, tail = text[:half], text[len(text) - (limit - half) :]
    if "\n" in head[-half // 10 :]:
        head = head[: head.rindex("\n")]
    if "\n" in tail[: half // 10]:
        tail = tail[tail.index("\n") + 1 :]
    return head + _NOTE.format(cut=len(text) - len(head) - len(tail), whole=len(text)) + tail
