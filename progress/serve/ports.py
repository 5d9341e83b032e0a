"""Ports on this machine, and the processes that listen there."""

import contextlib
import socket
from typing import Any

from progress.errors import StackError

HOST = "127.0.0.1"


def reserve() -> int:
    """Return a free port, and keep the system from assigning this port for about a minute.

    The function opens and closes a connection to the port. While this connection is in TIME_WAIT,
    the system gives the port only to a process that requests it by number.
    """
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        with socket.create_connection((HOST, port)) as client:
            server.accept()[0].close()  # the side that closes first gets TIME_WAIT
            client.recv(1)
    return port


def find_any_host() -> str:
    """Return the host that stands for all addresses of this machine: IPv6, too, if it has IPv6."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        if not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            return "[::]"
    return "0.0.0.0"  # noqa: S104 - a choice of the user


def check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StackError(
                f"port {port} is taken ({error.strerror}): "
                "stop the process that listens there, or choose another port with --port"
            ) from None


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


async def ask(method: str, url: str, *, timeout_s: float, **request: Any) -> int | None:
    """Send an HTTP request; return the status of the response, or None without one in time."""
    import aiohttp  # takes 100 ms

    with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # it may end during the request
        timeout = aiohttp.ClientTimeout(timeout_s)
        async with aiohttp.request(method, url, timeout=timeout, **request) as response:
            return response.status
    return None
