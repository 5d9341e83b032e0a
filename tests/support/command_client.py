"""`command_client.py SOCKET ARGUMENT...` makes the command server run `progress ARGUMENT...`.

The command gets the standard streams, the environment and the working folder of this process. This
process exits with the command's exit code.
"""

import json
import os
import signal
import socket
import sys

_NO_SERVER = 70


def main(address: str, arguments: list[str]) -> int:
    """Return the command's exit code, or minus the number of the signal that ended the command."""
    folder = os.getcwd()  # noqa: PTH109 - the import of pathlib is slow
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": folder}
    text = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(text).to_bytes(8)], [0, 1, 2])
        server.sendall(text)
        return int.from_bytes(server.recv(4) or _NO_SERVER.to_bytes(4), signed=True)


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2:])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
