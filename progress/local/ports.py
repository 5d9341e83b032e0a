"""Ports on this machine."""

import contextlib
import socket

from progress.errors import StackError

HOST = "127.0.0.1"


def free() -> int:
    """A port that nobody listens on now, and that nobody else is given for the next minute.

    A connection to it ended just now: until the system forgets that, only who asks for the very
    port can listen on it.
    """
    with socket.create_server((HOST, 0)) as reserving:
        port: int = reserving.getsockname()[1]
        with socket.create_connection((HOST, port)) as caller:
            reserving.accept()[0].close()  # the first to leave is the one who is remembered
            caller.recv(1)
    return port


def claim(port: int) -> None:
    """StackError where `port` cannot be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as fault:
            raise StackError(
                f"port {port} is taken ({fault.strerror}): "
                "stop what listens there, or choose another with --port"
            ) from None


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
