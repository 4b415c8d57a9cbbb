"""The model types that the provider offers.

llm         the language model, as Dify loads it     schema   what it can do, which parameters it has
validation  whether upstream and bridge answer       sdk_errors   our errors as the SDK's
"""
