"""`clawback init`: from a Dify address and a key to a configuration, and what to paste where.

service_api      the address of Dify's service API, and the app behind a key
config_file      the configuration file: as people may edit it, and on disk, where only its owner can read it
plan             all answers together, the configuration that they make, and where the bridge runs as seen from Dify
answers          flags, and what the terminal says, as a plan
questions        the answers that a terminal is asked for
agent_settings   the bridge in the settings of coding agents
openclaw_entry   the bridge as a provider in OpenClaw's configuration
command          the command itself, and what to paste where          errors   what keeps it from going on
"""
