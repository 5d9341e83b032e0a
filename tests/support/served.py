"""`progress serve` for tests, with its own PostgreSQL server and an issuer that has a public name.

A server accepts no issuer on this machine. Its processes therefore reach the issuer's public name
through an HTTPS proxy, which leads each connection to a test issuer.
"""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from progress.errors import StackError
from progress.serve import data_folder, ports, processes, readiness
from tests.support import (
    folders,
    forwarding,
    http_client,
    local_stack,
    tls_certificates,
    token_issuer,
)
from tests.support.postgres_servers import OwnServer

_HOST = "issuer.progress-learners.com"
_NAME = f"https://{_HOST}"
# The owner needs no password here; each function must know the password of its login.
_ADMITS = "local all postgres trust\nlocal all all scram-sha-256\n"
_MAX_HEAD = 65_536


class Served(local_stack.Stack):
    """A system that `progress serve` runs, and the events that a test has posted."""

    issuer_name = _NAME

    def __init__(self, folder: Path, database: OwnServer, **changed: str) -> None:
        super().__init__(folder / "data", **changed)
        self.database, self.dumps = database, folder / "dumps"
        self._log = folder / "serve.log"
        self._process: subprocess.Popen[bytes] | None = None

    def up(self, **_: str) -> None:
        with self._log.open("ab") as output:
            self._process = process = subprocess.Popen(
                [sys.executable, "-m", "progress", "serve", "--port", str(self.port)],
                env=self.environment(),
                stdout=output,
                stderr=output,
            )
        readiness.wait(lambda: self._is_ready(process), "the system", seconds=90)

    def end(self, *, by: signal.Signals = signal.SIGTERM) -> int:
        assert self._process
        processes.end(self._process, by=by, seconds=60)
        return self._process.returncode

    def lines(self) -> list[str]:
        whole, _, _ = self._log.read_text(encoding="utf-8").rpartition("\n")
        return whole.splitlines()

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self.lines()[-5:]
        with contextlib.suppress(StackError):
            return data_folder.running(self.folder).supervisor.pid == process.pid
        return False

    def _settings(self) -> dict[str, str]:
        changed = {"DATABASE_URL": self.database.url, "ENVIRONMENT": "production"}
        changed |= {"DUMP_TO": str(self.dumps), "LEARNERS_MAY_POST": "true"}
        return super()._settings() | changed

    @property
    def database_url(self) -> str:
        return self.database.url

    def token(self, user: str, role: str = "learner", groups: Sequence[str] = ()) -> str:
        return token_issuer.token(user, iss=_NAME, roles=[role], groups=groups)

    def post_to(self, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        return http_client.fetch(self.port, "POST", path, body, headers)

    @property
    def events_port(self) -> int:
        return self.port


@contextmanager
def run(**changed: str) -> Iterator[Served]:
    with folders.create("serve") as folder, serve_issuer(folder) as issuer:
        database = OwnServer(folder, admits=_ADMITS)
        database.start("fsync=off")
        served = Served(folder, database, **issuer, **changed)
        try:
            served.up()
            yield served
        finally:
            served.end()
            database.stop()


@contextmanager
def serve_issuer(folder: Path) -> Iterator[dict[str, str]]:
    authority = tls_certificates.Authority()
    trusted = folder / "authority.pem"
    trusted.write_text(authority.pem)
    with (
        token_issuer.serve() as issuer,
        tls_certificates.serve_tls(
            urlsplit(issuer.url).port or 0, authority.certificate(folder, _HOST)
        ) as tls_port,
        _serve_proxy(tls_port) as proxy_port,
    ):
        yield {
            "AUTH_ISSUER": _NAME,
            "AUTH_AUDIENCE": token_issuer.AUDIENCE,
            "AUTH_JWKS_URL": f"{_NAME}/jwks.json",
            "https_proxy": f"http://{ports.HOST}:{proxy_port}",
            "SSL_CERT_FILE": str(trusted),
        }


@contextmanager
def _serve_proxy(target: int) -> Iterator[int]:
    def connect(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (part := client.recv(_MAX_HEAD)):
            head += part
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        forwarding.forward(client, socket.create_connection((ports.HOST, target)))

    with socket.create_server((ports.HOST, 0)) as listener:
        forwarding.accept(listener, connect)
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
