"""What `clawback` does; nothing that serves imports it, but for the page, which runs doctor.

serve      the bridge, until it is told to stop
init       asks, checks, writes the configuration     doctor    every hop, one line each
package    the plugin as Dify installs it              completion  for shells
logs       what to attach to a report               open      the page, logged in
token      tokens, and clients                         store     look at it, copy it, move it
dify_tools Dify's own tools                            terminal  how commands print
operator   approve, deny, tickets                     watch     status, runs, tail      operator_client   for both
"""
