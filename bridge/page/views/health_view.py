"""Doctor's findings."""

from collections.abc import Sequence

from bridge.page.rendering import Piece, render
from bridge.page.views.views import Mark, Parts, View, Visitor


def health_view(parts: Parts, visitor: Visitor) -> View:
    """Return the page of what doctor found when it was asked last."""

    def mark() -> Mark:
        return parts.doctor.mark

    def pieces() -> Sequence[Piece]:
        findings = parts.doctor.findings
        lines = [
            Piece(f"line-{number}", render("health_line.html", visitor.t, line=line))
            for number, line in enumerate(findings.lines)
        ]
        head = render(
            "health_head.html",
            visitor.t,
            findings=findings,
            possible=parts.doctor.possible,
            login=visitor.login,
        )
        return [Piece("@head", head), *lines]

    return View("health", visitor.t("health.title"), mark, pieces, refreshes=parts.doctor.findings.state == "running")
