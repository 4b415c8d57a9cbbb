"""Who calls: the app behind the API key, and the end user behind `user`.

Source: controllers/service_api/wraps.py. Keys are compared in constant time.
"""

import hmac
from collections.abc import Iterable

from flask import request
from werkzeug.exceptions import Forbidden, Unauthorized

from demo.box.app_export import App
from demo.box.store import EndUser, Store


class Access:
    """Knows the box's apps and end users."""

    def __init__(self, apps: Iterable[App], store: Store) -> None:
        self.apps = tuple(apps)
        self._store = store

    def app(self) -> App:
        """The app whose key the request carries. Raises Unauthorized or Forbidden."""
        app = self._app_of(_bearer_token())
        if not app.enable_api:
            raise Forbidden("The app's API service has been disabled.")
        return app

    def user_of_body(self, app: App, *, required: bool = False) -> EndUser:
        """The end user named in the JSON body."""
        return self._user(app, (request.get_json() or {}).get("user"), required=required)

    def user_of_query(self, app: App, *, required: bool = False) -> EndUser:
        """The end user named in the query string."""
        return self._user(app, request.args.get("user"), required=required)

    def _user(self, app: App, name: object, *, required: bool) -> EndUser:
        if not name and required:
            raise ValueError("Arg user must be provided.")
        return self._store.end_user(app.id, str(name) if name else None)

    def _app_of(self, token: str) -> App:
        for app in self.apps:
            if hmac.compare_digest(app.key.encode(), token.encode()):
                return app
        raise Unauthorized("Access token is invalid")


def _bearer_token() -> str:
    header = request.headers.get("Authorization")
    if header is None or " " not in header:
        raise Unauthorized("Authorization header must be provided and start with 'Bearer'")
    scheme, token = header.split(None, 1)
    if scheme.lower() != "bearer":
        raise Unauthorized("Authorization scheme must be 'Bearer'")
    return token
