"""What `clawback` does besides serving; nothing that serves imports it, but for the page, which runs doctor.

init       asks, checks, writes the configuration     doctor    every hop, one line each
package    the plugin as Dify installs it
operator   approve, deny, tickets                     watch     status, runs, tail      operator_client   for both
"""
