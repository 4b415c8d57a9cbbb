"""One format each for durations, times, numbers and ids, on the page and in a terminal. `page.js` has the first too."""

from datetime import datetime

SHORT_ID = 8
"""So many characters of an id are shown where it is a link or there is little room. Commands take as many."""


def duration(seconds: float) -> str:
    """Write a duration as short as it can be read: 0.42 s, 8.1 s, 42 s, 3 min 05 s, 2 h 07 min, 4 d 3 h."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def clock(at: float) -> str:
    """Write a time of today: 14:05:09. Another day's has its date before it: 2026-11-27 14:05:09."""
    moment = datetime.fromtimestamp(at).astimezone()
    today = moment.date() == datetime.now().astimezone().date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def day(at: float) -> str:
    """Write the day on which something was: 2026-11-27."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d")


def moment(at: float) -> str:
    """Write a time as machines read it: 2026-11-27T14:05:09.123+01:00."""
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")


def figure(number: int) -> str:
    """Write a number in groups of three with a narrow space, as all languages read it: 12 345."""
    return f"{number:,}".replace(",", "\u202f")


def counted(number: int, thing: str) -> str:
    """Write so many of something that has a plain plural: 1 call, 3 calls."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def app(direction: str, model: str) -> str:
    """Name a run's app. Of one in which a run began in Dify, only the id is known."""
    return f"Dify app {short(model)}".strip() if direction == "executor" else model


def short(id_: str) -> str:
    """Write an id where there is little room."""
    return id_[:SHORT_ID]
