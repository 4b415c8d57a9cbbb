"""A strict, scripted OpenAI-compatible upstream."""
