"""A service that knows nothing but the recorded answers, and complains about every request that was never recorded.

After a write, a GET of the same thing is answered with what the write said is stored; after a DELETE with 404.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.controller.zerotier import recordings
from tests.controller.zerotier.fake_http import Answer, said, silent
from tests.controller.zerotier.recordings import FIXTURE

TOKEN = "secret"
GETS = {"/status": "controller_GET_status", "/controller": "controller_GET_controller"}


class Replay:
    def __init__(self) -> None:
        self.exchanges = [recordings.exchange(path.stem) for path in recordings.EXCHANGES]
        self.stored: dict[str, Any] = {
            f"/controller/network/{FIXTURE}": recordings.exchange("01_create_network")["response"]["body"]
        }

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("x-zt1-auth") != TOKEN:
            return self._recorded("14_bad_token")
        if method == "GET":
            return self._get(path)
        wanted = _spoken(json.loads(body)) if body else None
        for exchange in self.exchanges:
            request = exchange.get("request", {})
            if (request.get("method"), request.get("path"), _spoken(request.get("body"))) == (method, path, wanted):
                self.exchanges.remove(exchange)  # The same request again is a later one of the recording.
                return self._done(method, path, exchange["response"])
        raise AssertionError(f"never recorded: {method} {path} {body!r}")

    def _get(self, path: str) -> Answer:
        if path in GETS:
            return said(recordings.answer(GETS[path]))
        if path in self.stored:
            return said(self.stored[path])
        return self._recorded("01e_get_deleted_network")

    def _done(self, method: str, path: str, response: Any) -> Answer:
        if method == "POST" and response["status"] == 200:
            self.stored[path] = response["body"]
        elif method == "DELETE":
            self.stored.pop(path, None)
        return said(response["body"]) if response["body"] else silent(response["status"])

    def _recorded(self, name: str) -> Answer:
        response = recordings.exchange(name)["response"]
        return Answer(response["status"], response["content_type"], json.dumps(response["body"]).encode())


def _spoken(document: Any) -> Any:
    """null says the same as a field that is left out."""
    if isinstance(document, dict):
        return {name: _spoken(value) for name, value in document.items() if value is not None}
    return [_spoken(value) for value in document] if isinstance(document, list) else document
