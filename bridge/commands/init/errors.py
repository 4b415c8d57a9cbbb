"""What keeps `clawback init` from going on."""


class SetupError(Exception):
    """Something that was answered cannot work; the text says what to change."""
