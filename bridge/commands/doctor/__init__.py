"""`clawback doctor`: every hop from this machine to the upstream and back, one line each.

lines            what is told of one hop: green, red with what to do, or not looked at
own_files        the configuration, the store
bridge_hop       the bridge that serves here
dify_hop         Dify, the app's key, its kind, its Start node, its clock
probe            one small run through everything
waits            waits that Dify cut short
openclaw_hop     the bridge's entry in OpenClaw's configuration
command          all of it, in order, and the command itself
"""
