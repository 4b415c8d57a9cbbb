"""The model types that the provider offers."""
