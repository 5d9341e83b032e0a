"""The options of a soak test."""

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path


@dataclass(frozen=True)
class SoakPlan:
    """The duration and the amount of the load."""

    minutes: float
    events: int  # per second, without duplicates
    queries: int  # per second
    kill_interval_s: float
    learners: int
    seed: int
    out: Path  # the folder of the report
    begin: datetime  # the time of the first event


def parse(arguments: list[str]) -> SoakPlan:
    """Parse the arguments of `python -m bench soak`; exit with 2 if one is invalid."""
    parser = argparse.ArgumentParser(prog="python -m bench soak", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=60.0, help="minutes of load")
    add("--events", type=int, default=100, help="events per second")
    add("--queries", type=int, default=50, help="queries per second")
    add("--kill-interval-s", type=float, default=30.0, help="seconds between two kills")
    add("--learners", type=int, default=200)
    add("--seed", type=int, default=1, help="seed of the random events and kills")
    add("--out", type=Path, default=Path(".progress/soak"), help="the folder of the report")
    options = parser.parse_args(arguments)
    # At 100 events/s, a minute of load publishes the sessions of one day. The first event lies so
    # many days in the past that no session is in the future.
    days = 1 + options.minutes * options.events / 100
    return SoakPlan(**vars(options), begin=datetime.now(UTC) - timedelta(days=days))
