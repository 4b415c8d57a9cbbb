"""The plugin as Dify installs it: one file, the same bytes for the same sources."""
