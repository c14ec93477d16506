"""An S3 server (moto) that has bad times: while the file `--down-while` is there, every answer is a 503.

`python -m benchmarks.bed.s3_server --host ADDRESS --port PORT --down-while FILE --log FILE`. The log has a
line a request: client, status, method, path.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

_BODY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Handler(WSGIRequestHandler):
    """Keeps connections open, and writes what is asked for to a file that `main` names."""

    protocol_version = "HTTP/1.1"
    asked: IO[str]

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """One line."""
        status = getattr(code, "value", code)
        self.asked.write(f"{self.address_string()} {status} {self.command} {self.path}\n")


def with_bad_times(server: Any, sign: Path) -> Callable[..., Iterable[bytes]]:
    """The server, but for 503s while `sign` exists."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not sign.exists():
            return server(environ, start_response)
        # A body that is not read would be taken for the next request of this connection.
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(_BODY)))]
        start_response("503 Slow Down", headers)
        return [_BODY]

    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--down-while", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    application = with_bad_times(
        DomainDispatcherApplication(create_backend_app), options.down_while
    )
    with options.log.open("a", buffering=1) as Handler.asked:
        server = make_server(
            options.host, options.port, application, threaded=True, request_handler=Handler
        )
        server.serve_forever()


if __name__ == "__main__":
    main()
