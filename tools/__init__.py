"""The tool-calling vocabulary that the provider and the bridge share. Pure: no I/O."""
