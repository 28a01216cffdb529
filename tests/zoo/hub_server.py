"""A small Hugging Face Hub on this machine, for the real huggingface_hub client to talk to.

It answers HEAD and GET of /ORG/NAME/resolve/main/FILE as the Hub does (revision, etag and size in headers, a redirect
to the host that stores the bytes, error codes), and serves byte ranges and any file under /files. It can be set to be
gated, to fail, to drop the connection in the middle of a file, and to answer like a network that wants a sign-in first.
"""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

COMMIT = "c0ffee" + "0" * 34
TOKEN = "hf_let_me_in"


class Hub(ThreadingHTTPServer):
    """The server's files, its faults, and the requests that it received."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, dict[str, bytes]] = {}  # "org/name" -> file name -> bytes
        self.files: dict[str, bytes] = {}  # what lies outside the Hub, at /files/NAME
        self.gated: set[str] = set()  # repositories that only TOKEN opens
        self.status: dict[str, int] = {}  # repository -> the error that it answers with
        self.xet: set[str] = set()  # repositories whose files are in xet storage
        self.hang_ups = 0  # how many more times to drop the connection after half of the requested bytes
        self.instead = b""  # sent instead of a repository's file, whatever was announced
        self.portal = b""  # a page that a captive portal sends instead of every file's bytes
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, Range
        self.tokens: list[tuple[str, str]] = []  # path and the token that came with it


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        assert isinstance(self.server, Hub)
        return self.server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub = self.hub
        hub.asked.append((self.command, self.path, self.headers.get("Range")))
        if token := self.headers.get("Authorization"):
            hub.tokens.append((self.path, token))
        if hub.portal:
            return self._send(hub.portal, body, "text/html")
        if found := re.fullmatch(r"/files/(.+)", self.path):
            data = hub.files.get(found[1])
        elif found := re.fullmatch(r"/bytes/(.+?/.+?)/(.+)", self.path):  # the storage host asks for no token
            data = hub.instead or hub.repos[found[1]][found[2]]
        elif found := re.fullmatch(r"/(.+?/.+?)/resolve/main/(.+)", self.path):
            return self._resolve(found[1], found[2])
        else:
            data = None
        return self._refuse(404) if data is None else self._send(data, body)

    def _resolve(self, repo: str, name: str) -> None:
        hub = self.hub
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repo in hub.status:
            return self._refuse(hub.status[repo])
        if repo not in hub.repos:
            return self._refuse(404 if token else 401, "RepoNotFound")
        if repo in hub.gated and token != TOKEN:
            return self._refuse(403 if token else 401, "GatedRepo")
        if name not in hub.repos[repo]:
            return self._refuse(404, "EntryNotFound", {"X-Repo-Commit": COMMIT})
        data = hub.repos[repo][name]
        headers = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Linked-Size": str(len(data)),
            "Location": f"http://localhost:{hub.server_port}/bytes/{repo}/{name}",  # a different host from the Hub's
        }
        if repo in hub.xet:
            headers |= {"X-Xet-Hash": "0" * 64, "X-Xet-Refresh-Route": f"{hub.url}/xet"}
        return self._headers(302, 0, headers)

    def _refuse(self, status: int, code: str | None = None, headers: dict[str, str] | None = None) -> None:
        self._headers(status, 0, (headers or {}) | ({"X-Error-Code": code} if code else {}))

    def _send(self, data: bytes, body: bool, kind: str = "application/octet-stream") -> None:
        hub = self.hub
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(wanted[1]) if wanted else 0
        headers = {"Accept-Ranges": "bytes", "Content-Type": kind}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        rest = data[start:]
        self._headers(206 if wanted else 200, len(rest), headers)
        if not body:
            return
        if hub.hang_ups > 0:
            hub.hang_ups -= 1
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(rest)

    def _headers(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a Hub in a thread."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


@contextmanager
def client_of(url: str, home: Path) -> Iterator[pytest.MonkeyPatch]:
    """Point the imported huggingface_hub to the server at `url` and to an empty home, with no token.

    Connections to other machines fail, and so does a test that tries one; proxies in the environment are not used.
    """
    strangers = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HOME", str(home))
        patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        patch.setattr(constants, "HF_ASSETS_CACHE", str(home / "assets"))
        patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MEMORY"):
            patch.delenv(name, raising=False)
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1,localhost")
        connect = socket.socket.connect

        def loopback_only(self: socket.socket, address: tuple[str, int]) -> None:
            if address[0] not in ("127.0.0.1", "::1"):
                strangers.append(address)
                raise OSError(f"{address} is not this machine")
            connect(self, address)

        patch.setattr(socket.socket, "connect", loopback_only)
        huggingface_hub.close_session()
        try:
            yield patch
        finally:
            huggingface_hub.close_session()
            assert strangers == []
