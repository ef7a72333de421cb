"""The controller's REST from outside the lab: the connection is made inside the node's network namespace."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any

from lab.linux import socket_in
from lab.node import Node


class Refused(RuntimeError):
    """The controller said no; `status` and `problem` say how."""

    def __init__(self, method: str, path: str, status: int, problem: Any) -> None:
        super().__init__(f"{method} {path}: {status} {json.dumps(problem)[:2000]}")
        self.status = status
        self.problem = problem


class Inside(http.client.HTTPConnection):
    """HTTP made inside the node's network namespace."""

    def __init__(self, node: Node, host: str, port: int, trust: ssl.SSLContext | None = None) -> None:
        super().__init__(host, port, timeout=60)
        self._node = node
        self._trust = trust

    def connect(self) -> None:
        self.sock = socket_in(self._node.netns, socket.AF_INET, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect((self.host, self.port))
        if self._trust is not None:
            self.sock = self._trust.wrap_socket(self.sock, server_hostname=self.host)


class Rest:
    """An operator with a token, at the node's own loopback address; by TLS once there is `trust`."""

    def __init__(self, node: Node, port: int, token: str = "") -> None:
        self.node = node
        self.port = port
        self.token = token
        self.trust: ssl.SSLContext | None = None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON (None if it has no body). Raises Refused, or OSError when nobody answers."""
        connection = Inside(self.node, "127.0.0.1", self.port, self.trust)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, f"/api/v1{path}", json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        answer = json.loads(text) if text else None
        if response.status >= 400:
            raise Refused(method, path, response.status, answer)
        return answer

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, body)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)
