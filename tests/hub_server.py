"""A server on the loopback that speaks as much of the hub's API as downloads need, and fails when told to."""

import contextlib
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def blob_sha1(data: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@dataclass
class Hub:
    """Repositories by name, each path -> content; `lfs` suffixes are told with their sha256.

    cut: by path, after how many bytes of a body the connection breaks, once. swapped: by path, the content
    that is sent instead. claimed: by path, the size that is told. gated: the path whose body waits in the
    middle until the gate is set.
    """

    repositories: dict[str, dict[str, bytes]]
    cut: dict[str, int] = field(default_factory=dict)
    swapped: dict[str, bytes] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)
    status: int = 200
    gated: str = ""
    gate: threading.Event | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)  # path and Range header of each body
    lfs: tuple[str, ...] = (".safetensors", ".onnx")

    def __enter__(self) -> "Hub":
        hub = self

        class Handler(_Handler):
            served = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *fault: object) -> None:
        if self.gate is not None:
            self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def ranges(self, path: str) -> list[str]:
        """The Range headers with which a file was asked for, "" for the whole."""
        return [span for asked, span in self.asked if asked == path]

    def told(self, repository: str) -> dict[str, Any]:
        """What the API says of a repository."""
        siblings: list[dict[str, Any]] = []
        for path, data in self.repositories[repository].items():
            size = self.claimed.get(path, len(data))
            row: dict[str, Any] = {"rfilename": path, "size": size, "blobId": blob_sha1(data)}
            if path.endswith(self.lfs):
                row["lfs"] = {"size": size, "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130}
            siblings.append(row)
        return {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings}


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.lstrip("/")
        if self.served.status != 200:
            return self._send(self.served.status, b"{}")
        if path.startswith("api/models/"):
            repository, _, revision = path.removeprefix("api/models/").partition("/revision/")
            if repository not in self.served.repositories or revision not in (COMMIT, "", "main"):
                return self._send(404, b"{}", **{"X-Error-Code": "RepoNotFound"})
            return self._send(200, json.dumps(self.served.told(repository)).encode())
        if path.startswith("bodies/"):
            repository, _, name = path.removeprefix("bodies/").partition("//")
            return self._send_body(name, self.served.repositories[repository][name])
        repository, _, rest = path.partition("/resolve/")
        name = rest.partition("/")[2]
        if name not in self.served.repositories.get(repository, {}):
            return self._send(404, b"{}", **{"X-Error-Code": "EntryNotFound"})
        # As the hub does: the body lies elsewhere.
        return self._send(302, b"", Location=f"{self.served.address}/bodies/{repository}//{name}")

    def _send_body(self, name: str, data: bytes) -> None:
        data = self.served.swapped.get(name, data)
        span = self.headers.get("Range", "")
        self.served.asked.append((name, span))
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        rest = data[start:]
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(rest)))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        cut = self.served.cut.pop(name, None)
        if cut is not None:
            self.wfile.write(rest[:cut])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
            return
        with contextlib.suppress(ConnectionError):  # whoever asked may be gone
            if self.served.gate is not None and name == self.served.gated:
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                self.served.gate.wait(60)
                rest = rest[len(rest) // 2 :]
            self.wfile.write(rest)

    def _send(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing: tests read `asked`."""
