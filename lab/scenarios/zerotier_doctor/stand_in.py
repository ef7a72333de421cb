"""A ZeroTier service as it is not here: `python stand_in.py PORT REAL_PORT HOW` on the node of a real one.

It hands requests on, and changes answers by HOW, a JSON object: with `"controller": false` everything below /controller
is 404 with an empty body, as in a build without one; what is in `"network"` replaces fields of every network.

Connections of its own bear SO_MARK 1, so that a rule of nftables can lead all others here. Standard library only.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MARK = 1
HEADERS = ("X-ZT1-Auth", "Content-Type")


class Marked(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        self.sock.settimeout(20)
        self.sock.connect((self.host, self.port))


class Handler(BaseHTTPRequestHandler):
    real_port = 0
    how: dict[str, Any] = {}  # noqa: RUF012

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.how.get("controller") is False and "controller" in self.path:
            self.say(404, b"")
            return
        connection = Marked("127.0.0.1", self.real_port)
        try:
            headers = {name: self.headers[name] for name in HEADERS if name in self.headers}
            connection.request(self.command, self.path, body or None, headers)
            real = connection.getresponse()
            self.say(real.status, self.changed(real.read()))
        finally:
            connection.close()

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def changed(self, answer: bytes) -> bytes:
        said = json.loads(answer) if answer else None
        if isinstance(said, dict) and "nwid" in said and "rules" in said:
            return json.dumps({**said, **self.how.get("network", {})}).encode()
        return answer

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port: str, real_port: str, how: str) -> None:
    Handler.real_port, Handler.how = int(real_port), json.loads(how)
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
