"""The bridge: shows Dify apps as OpenAI models and holds the tickets."""
