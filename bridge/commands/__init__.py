"""What `clawback` does; nothing that serves imports it, but for the page, which runs doctor.

serve      the bridge, until it is told to stop
init       asks, checks, writes the configuration     doctor    every hop, one line each
package    the plugin as Dify installs it              completion  for shells
logs       what to attach to a report               open      the page, logged in
operator   approve, deny, tickets                     watch     status, runs, tail      operator_client   for both
"""
