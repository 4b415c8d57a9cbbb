"""Texts that OpenClaw acts on, guarded as a client is told them, and given to OpenClaw's own functions."""
