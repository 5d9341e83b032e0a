"""Run a soak test: `python -m bench soak --minutes 60`."""

import contextlib
import threading
import time
from dataclasses import asdict

import msgspec
from rich.console import Console

from bench import local_stack
from bench.lines import format_table
from bench.local_stack import LocalStack
from bench.soak import checks, instances, plan, report
from bench.soak.commands import Commands
from bench.soak.events import Load
from bench.soak.kills import Kills
from bench.soak.plan import SoakPlan
from bench.soak.queries import Queries
from bench.soak.samples import Sample, Sampler


def main(arguments: list[str]) -> int:
    """Run the test and write its report; return 1 if the checks find a defect."""
    soak, console = plan.parse(arguments), Console(markup=False, highlight=False, soft_wrap=True)
    soak.out.mkdir(parents=True, exist_ok=True)
    with local_stack.run() as local:
        samples, defects = _run(console, local, soak)
    for defect in defects:
        console.print(f"WRONG  {defect}")
    console.print(format_table(report.lines(samples, defects)))
    return 1 if defects else 0


def _run(console: Console, local: LocalStack, soak: SoakPlan) -> tuple[list[Sample], list[str]]:
    """Run the load, check the results, and write the report; return the samples and defects."""
    crashes: list[str] = []
    threading.excepthook = lambda crash: crashes.append(f"{crash.thread}: {crash.exc_value!r}")
    checks.add_schema(local.addresses["database_url"])
    with instances.run(local) as steady:
        load = Load(local, soak)
        ports = {"killed": local.port, "steady": steady["query"].port}
        queries = Queries(local, soak, ports)
        commands = Commands(local, soak, load.source, steady["query"].port)
        kills = Kills(local, soak)
        sampler = Sampler(local, steady, queries, kills.killed.total)
        with contextlib.ExitStack() as running:
            for part in (load, queries, commands, kills, sampler):
                part.start()
                running.callback(part.stop)
            with console.status("soak"):
                time.sleep(60 * soak.minutes)
        _print_counts(console, load, queries, commands, kills)
        _write_report(soak, sampler.samples)
        console.print(report.minutes(sampler.samples))
        began = time.monotonic()
        checks.drain(local.addresses["database_url"])
        console.print(f"drained within {time.monotonic() - began:.0f} s")
        return sampler.samples, [*crashes, *checks.find_defects(local, load, commands, queries)]


def _print_counts(
    console: Console, load: Load, queries: Queries, commands: Commands, kills: Kills
) -> None:
    published = f"{load.published:,} published, {len(load.acknowledged):,} event ids acknowledged"
    console.print(f"events: {published}")
    for title, counts in (
        ("queries", {" ".join(key): count for key, count in queries.outcomes.items()}),
        ("operations", commands.started),
        ("rejected operations", commands.rejected),
        ("kills", kills.killed),
    ):
        console.print(f"{title}: " + ", ".join(f"{n} {count:,}" for n, count in counts.items()))


def _write_report(soak: SoakPlan, samples: list[Sample]) -> None:
    """Write the samples as JSON, and the table as Markdown."""
    (soak.out / "samples.json").write_bytes(msgspec.json.encode([asdict(s) for s in samples]))
    (soak.out / "minutes.md").write_text(report.minutes(samples), encoding="utf-8")
