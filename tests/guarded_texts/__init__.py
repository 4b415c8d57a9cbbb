"""Texts that OpenClaw acts on, guarded and given to OpenClaw's own functions.

texts        derives the texts from OpenClaw's grammars
oracle       asks OpenClaw what an answer does
oracle.mjs   OpenClaw's own functions, in Node.js
trial        guards texts and asks
"""
