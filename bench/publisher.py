"""A Pub/Sub publisher service that discards its messages: `python -m bench.publisher PORT`."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from google.pubsub_v1.types import PublishResponse

from bench.load import HOST
from progress.local import ports, processes, readiness
from progress.local.parts import ROOT

_RESPONSE = PublishResponse.serialize(PublishResponse(message_ids=["1"]))


@contextmanager
def run() -> Iterator[str]:
    """Run the service inside the block; yield its address."""
    port = ports.reserve()
    command = [sys.executable, "-m", "bench.publisher", str(port)]
    process = processes.start(command, output=subprocess.DEVNULL, folder=ROOT)
    readiness.wait(lambda: ports.is_listening(port), "the publisher")
    yield f"{HOST}:{port}"
    processes.end(process, by=signal.SIGTERM, seconds=5)


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    method = grpc.unary_unary_rpc_method_handler(lambda _request, _context: _RESPONSE)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {"Publish": method})]
    )
    server.add_insecure_port(f"{HOST}:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
