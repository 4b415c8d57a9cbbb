"""The pages, and what each is made of.

views   runs_view   run_view   approvals_view   executors_view   health_view

steps      the steps of a run, in the order in which they happened
asked      what a run was asked, as far as it may be shown
attempts   the tries of a run
"""
