"""The Dify model provider: everything that runs inside Dify's plugin daemon.

clawback      the provider as Dify knows it        models      the language model, and its schema
node          one call of a node                   settings    what a node sets      credentials   what the forms hold
engine        one invocation as a state machine    modes       how tools and calls are expressed to a model
upstream      the LLM server over HTTP             bridge      the bridge over HTTP
errors        all errors, and how secrets stay out of them

clawback and models alone import Dify's SDK: the SDK patches the whole process when imported.
"""
