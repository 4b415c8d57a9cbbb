"""The Dify model provider: everything that runs inside Dify's plugin daemon."""
