"""What can go wrong when the plugin is packaged."""


class PackageError(Exception):
    """The package cannot be written. The text says what to change."""
