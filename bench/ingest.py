"""The ingest function under load, compared with an empty function and with direct appends."""

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

from bench import envelopes, functions, publisher
from bench.functions import Function
from bench.lines import Line, Rounds
from bench.server import Server, Store
from progress.event_store import log
from progress.local.parts import ROOT

_ROUNDS = 7
_AT_ONCE = 80
_SINGLE = 2_000  # messages
_HUNDRED = 100  # messages, and events per message

_seeds = itertools.count(1)


def measure_load(server: Server) -> Iterator[Line]:
    """Measure messages with one event and with 100 events, and the function's memory."""
    store = server.create_store()
    single, hundred, memory = _measure(store)
    server.drop(store)
    what = "ingest, one event per message, 80 concurrent requests"
    against = "an empty function:"
    yield single.compare_rates(what, "ingest", "empty", against=against, bar=0.4, of="requests")
    what = "ingest, 100 events per message, 80 concurrent requests"
    against = "append called directly with 100 events:"
    yield hundred.compare_rates(what, "ingest", "append", against=against, bar=0.4)
    yield Line(
        "memory of ingest under load", f"{memory:.0f} MB", "", memory, 200, "MB", at_most=True
    )


def _measure(store: Store) -> tuple[Rounds, Rounds, float]:
    """Return the rates with one and with 100 events per message, and the memory in MB."""
    single, hundred = Rounds(), Rounds()
    with ExitStack() as stack:
        commands = stack.enter_context(publisher.run())
        ours = stack.enter_context(functions.run("ingest", **_environment(store, commands)))
        empty = stack.enter_context(functions.run("empty"))
        for number in range(_ROUNDS + 1):
            seconds = (
                push_messages(ours, _SINGLE),
                push_messages(empty, _SINGLE),
                push_messages(ours, _HUNDRED, events=100),
            )
            if number:  # the first round is a warm-up
                single.add("ingest", _SINGLE / seconds[0])
                single.add("empty", _SINGLE / seconds[1])
                hundred.add("ingest", 100 * _HUNDRED / seconds[2])
                hundred.add("append", _append_rate(store))
        return single, hundred, ours.memory()


def _environment(store: Store, commands: str) -> dict[str, str]:
    return {"DATABASE_URL": store.url, "PUBSUB_EMULATOR_HOST": commands}


def push_messages(function: Function, messages: int, *, events: int = 1) -> float:
    """Return the seconds until the function has accepted all messages."""
    values = (function.port, messages, _AT_ONCE, events, 1_000 + next(_seeds))
    command = [sys.executable, "-m", "bench.load", *map(str, values)]
    return float(subprocess.check_output(command, cwd=ROOT, text=True))


def _append_rate(store: Store) -> float:
    """Return the events per second of appends with 100 events per call."""
    source = envelopes.endless(1_000 + next(_seeds))
    deliveries = [envelopes.delivery(list(itertools.islice(source, 100))) for _ in range(_HUNDRED)]
    with closing(store.connect()) as connection:
        log.append(connection, deliveries[:1])
        begin = time.perf_counter()
        for delivery in deliveries[1:]:
            log.append(connection, [delivery])
        return 100 * (_HUNDRED - 1) / (time.perf_counter() - begin)
