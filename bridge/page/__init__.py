"""The web page: every step of every run, the calls that wait for a person, the executors, and doctor's findings.

blueprint     the routes
views         the pages, and what each is made of
streaming     a page's changes, as server-sent events
decisions     approve, deny, edit
doctor_run    doctor, in a process of its own: doctor_process
logins        who is logged in, and how often somebody may try
links         login links, for a browser on this machine
headers       what every answer says to the browser
static, templates, texts   what it is written with
rendering     the texts and templates, and how they write foreign text
"""

from bridge.page.blueprint import page_blueprint
from bridge.page.links import Links, links_blueprint

__all__ = ["Links", "links_blueprint", "page_blueprint"]
