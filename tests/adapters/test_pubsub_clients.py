"""The clients of Pub/Sub and Cloud Monitoring under faults: each call is made once, for a time."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import google.auth
import google.cloud.monitoring_v3
import google.pubsub_v1
import grpc
import pytest

from progress import settings
from progress.adapters.pubsub import backlog, clients, undelivered
from progress.adapters.pubsub.backlog import Backlog
from progress.errors import PubSubUnavailable
from progress.serve import ports
from tests.support import programs, tls_certificates
from tests.support.fake_publisher import FakePublisher, serve_grpc

HOST = "127.0.0.1"
LIMIT_S, SHORT_S = 20, 0.3  # the libraries' default is to try again for a minute or longer
MESSAGES = [{"data": b"a message"}]
LIBRARIES = (google.pubsub_v1, google.cloud.monitoring_v3)  # their import must not be measured


def publish(address: str | None, limit_s: float = LIMIT_S) -> None:
    clients.publish("projects/p/topics/t", MESSAGES, emulator=address, timeout_s=limit_s)


def open_backlog(address: str, *pulled: str) -> Backlog:
    known = settings.Settings(pubsub_emulator_host=address, changes_subscription="s")
    opened = Backlog(known)
    opened._pulled = [[*pulled]] if pulled else []
    return opened


def count(address: str, limit_s: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(undelivered, "TIMEOUT_S", limit_s)
        undelivered.count("p", address)


Call = Callable[[str, float], object]
CALLS: dict[str, Call] = {
    "publish": publish,
    "pull": lambda address, limit_s: open_backlog(address)._call("pull", limit_s, max_messages=1),
    "acknowledge": lambda address, limit_s: open_backlog(address)._call(
        "acknowledge", limit_s, ack_ids=["1"]
    ),
    "give back": lambda address, limit_s: open_backlog(address)._call(
        "modify_ack_deadline", limit_s, ack_ids=["1"], ack_deadline_seconds=0
    ),
    "count": count,
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@each_call
def test_a_server_that_is_dead_or_silent_or_sends_half_a_message_is_reported(call: Call) -> None:
    with socket.create_server((HOST, 0)) as silent, serve_grpc(AnyMethod()) as half:
        for address, limit_s, error in (
            (f"{HOST}:{ports.reserve()}", LIMIT_S, "UNAVAILABLE"),
            (f"{HOST}:{silent.getsockname()[1]}", SHORT_S, "DEADLINE_EXCEEDED"),
            (half, LIMIT_S, "INTERNAL"),
        ):
            begin = time.monotonic()
            with pytest.raises(PubSubUnavailable, match=error):
                call(address, limit_s)
            assert time.monotonic() - begin < LIMIT_S


def test_a_pull_that_times_out_counts_as_empty_and_messages_that_stay_unsettled_are_logged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_FIRST_PULL_TIMEOUT_S", "_NEXT_PULL_TIMEOUT_S", "_SETTLE_TIMEOUT_S"):
        monkeypatch.setattr(backlog, name, SHORT_S)
    with socket.create_server((HOST, 0)) as silent:
        address = f"{HOST}:{silent.getsockname()[1]}"
        empty = open_backlog(address)
        empty.pull()
        assert empty.is_idle
        open_backlog(address, "1").acknowledge()
        open_backlog(address, "1").give_back()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message"].partition(" failed")[0] for line in lines] == [
        "acknowledge",
        "modify_ack_deadline",
    ]


def test_a_backlog_that_is_not_pulled_is_not_idle_and_has_no_messages() -> None:
    with backlog.open_backlog(settings.Settings()) as unknown:
        assert (unknown.is_idle, unknown.messages) == (False, 0)


def test_a_process_that_forks_opens_a_client_of_its_own(fake_publisher: FakePublisher) -> None:
    script = """
import os
from progress import settings
from google.pubsub_v1 import PublisherClient
from progress.adapters.pubsub import clients, wakeups
own = clients.find(PublisherClient, settings.current().pubsub_emulator_host)
assert wakeups.send([1])
child = os.fork()
if not child:
    is_own = own is not clients.find(PublisherClient, settings.current().pubsub_emulator_host)
    os._exit(not (is_own and wakeups.send([2])))
assert wakeups.send([3])
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    environment = {**os.environ, "PUBSUB_EMULATOR_HOST": fake_publisher.address}
    environment["GRPC_ENABLE_FORK_SUPPORT"] = "1"  # the library's default
    programs.run([sys.executable, "-c", script], environment)
    assert sorted(fake_publisher.shards()) == [1, 2, 3]


def test_the_emulator_is_that_of_the_settings_not_that_of_the_environment(
    fake_publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"{HOST}:{ports.reserve()}")
    publish(fake_publisher.address)
    assert len(fake_publisher.requests) == 1


def test_google_is_trusted_if_a_known_authority_signed_its_certificate_for_its_name(
    tmp_path: Path,
) -> None:
    known, stranger = tls_certificates.Authority(), tls_certificates.Authority()
    roots = tmp_path / "roots.pem"
    roots.write_text(known.pem)
    script = """
import sys
import google.auth
from google.oauth2.credentials import Credentials
from progress.adapters.pubsub import clients
from progress.errors import PubSubUnavailable

google.auth.default = lambda **_: (Credentials("a token"), None)
open_channel = clients._open_channel
for address in sys.argv[1:]:
    clients._open_channel = lambda transport, _, **more: open_channel(transport, address, **more)
    clients._create.cache_clear()
    try:
        clients.publish("projects/p/topics/t", [{"data": b"1"}], emulator=None, timeout_s=20)
        print("published")
    except PubSubUnavailable as error:
        print(error)
"""
    cases = [(known, "localhost"), (known, "another.example"), (stranger, "localhost")]
    with contextlib.ExitStack() as stack:
        servers = []
        for number, (authority, name) in enumerate(cases):
            folder = tmp_path / str(number)
            folder.mkdir()
            server = FakePublisher(authority.certificate(folder, name))
            stack.callback(server.close)
            servers.append(server)
        addresses = [f"localhost:{server.address.rpartition(':')[2]}" for server in servers]
        environment = {**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(roots)}
        output = programs.run([sys.executable, "-c", script, *addresses], environment)
    trusted, *others = output.splitlines()
    assert trusted == "published"
    assert [line.partition(":")[0] for line in others] == ["UNAVAILABLE"] * 2
    assert [len(server.requests) for server in servers] == [1, 0, 0]
    assert servers[0].tokens == ["Bearer a token"]


class AnyMethod(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """Half a message is the response to each call of each method."""

    def service(self, _: object) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x0a\x05ab")
