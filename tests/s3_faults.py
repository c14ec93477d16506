"""A proxy on the loopback interface between S3 clients and a server: it counts requests and breaks some."""

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Kind = Literal["error_500", "slow_down", "denied", "elsewhere", "delay", "cut_short", "lose_answer"]
_ERRORS = {
    "error_500": (500, "InternalError", "We encountered an internal error."),
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "denied": (403, "AccessDenied", "Access Denied"),
    "elsewhere": (301, "PermanentRedirect", "The bucket must be addressed elsewhere."),
}
_FOR_ONE_CONNECTION = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class Fault:
    """What happens to the next `times` requests of a method whose path contains a text."""

    kind: Kind
    method: str
    path: str
    times: int
    seconds: float = 0.0
    """How long a delayed answer takes."""


class FaultyProxy:
    """Listens at `url`; passes everything on to `server_port` but for the faults that are set."""

    def __init__(self) -> None:
        self.server_port = 0
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        """Method and path with query, in the order of their arrival."""
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def _serve(self) -> None:
                proxy._pass_on(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

            def log_message(self, *arguments: object) -> None:
                """Nothing is printed."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """No faults, no requests."""
        self.faults, self.requests = [], []

    def methods(self) -> Counter[str]:
        """How many requests of each method there were."""
        return Counter(method for method, _ in self.requests)

    def _next_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        body = _body(handler)
        fault = self._next_fault(handler.command, handler.path)
        if fault is not None and fault.kind in _ERRORS:
            status, code, message = _ERRORS[fault.kind]
            text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            headers = [("Content-Type", "application/xml"), ("x-amz-bucket-region", "eu-west-1")]
            _answer(handler, status, headers, text, len(text))
            return
        if fault is not None and fault.kind == "delay":
            time.sleep(fault.seconds)
        connection = http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=60)
        dropped = ("expect", "transfer-encoding")
        headers = {k: v for k, v in handler.headers.items() if k.lower() not in dropped}
        connection.request(handler.command, handler.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if fault is not None and fault.kind == "lose_answer":
            connection.close()
            handler.close_connection = True
            return
        length = int(answer.headers.get("Content-Length", len(content)))
        if fault is not None and fault.kind == "cut_short":
            content = content[: len(content) // 2]
            handler.close_connection = True
        kept = [
            (name, value)
            for name, value in answer.getheaders()
            if name.lower() not in _FOR_ONE_CONNECTION | {"content-length"}
        ]
        _answer(handler, answer.status, kept, content, length)
        connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # connections that come while this process does something else


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(parts)


def _answer(handler: Any, status: int, headers: list[Any], content: bytes, length: int) -> None:
    handler.send_response_only(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(content)
    handler.wfile.flush()
