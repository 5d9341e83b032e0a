"""Check each claim, and show that the check fails if the reported behaviour is planted.

`make trust` runs this program; `make trust ARGS="--deliveries 100"` delivers each log more often,
and `make trust ARGS="--log anki-2801"` prints a log, as lines that `progress publish` accepts.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table

from progress.adapters.terminal import Console, print_json, progress_bar
from tests.support import postgres_servers
from tests.support.postgres_servers import Server
from tests.trust import claims
from tests.trust.claims import CLAIMS, Claim, Finding

_DELIVERIES = 5


@dataclass
class Result:
    """What the checks of a claim found, and with the reported behaviour planted."""

    claim: Claim
    here: list[Finding] = field(default_factory=list)
    planted: Finding | None = None

    @property
    def problems(self) -> list[str]:
        """What contradicts the claim, or shows that its check cannot fail; empty if it holds."""
        found = [f"found {one.seen!r}" for one in self.here if one.seen != self.claim.right]
        found += [difference for one in self.here for difference in one.differences]
        if self.planted and self.planted.seen != self.claim.reported:
            found.append(f"with the reported behaviour planted: found {self.planted.seen!r}")
        if self.planted and not self.planted.differences:
            found.append("with the reported behaviour planted, the rows equal the oracle's")
        return found


def run(server: Server, console: Console, deliveries: int) -> list[Result]:
    """Check each claim as reported, with its log delivered otherwise, and with its fault."""
    results = [Result(claim) for claim in CLAIMS]
    seeds = [None, *range(deliveries)]
    total = sum(len(seeds) if claim.log else 1 for claim in CLAIMS) + len(CLAIMS)
    done = 0
    with progress_bar(console, "checks", total) as report:
        for result in results:
            for seed in seeds if result.claim.log else [None]:
                result.here.append(claims.check(result.claim, server, seed=seed))
                report(done := done + 1)
            result.planted = claims.check(result.claim, server, is_planted=True)
            report(done := done + 1)
    return results


def tabulate(results: Sequence[Result]) -> Table:
    """Return a table of the claims, their threads, what was seen, and the verdicts."""
    table = Table("what holds here, and the thread that reports the contrary", "verdict")
    for result in results:
        claim, planted = result.claim, result.planted
        table.add_row(claim.title, "fails" if result.problems else "holds")
        table.add_row(claim.thread)
        table.add_row(f"  here:    {', '.join(dict.fromkeys(one.seen for one in result.here))}")
        table.add_row(f"  planted: {planted.seen if planted else ''}", end_section=True)
    return table


def main(arguments: Sequence[str]) -> int:
    """Print the table, or a log; return 1 if a claim fails."""
    printable = {claim.name: claim.log for claim in CLAIMS if claim.log}
    parser = argparse.ArgumentParser(prog="make trust", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=_DELIVERIES, metavar="N")
    parser.add_argument("--log", choices=printable)
    options, console = parser.parse_args(arguments), Console()
    if options.log:
        for event in printable[options.log]():
            print_json(event)
        return 0
    with postgres_servers.start(None) as url:
        server = Server(url)
        results = run(server, console, options.deliveries)
        server.close()
    console.print(tabulate(results))
    failed = [result for result in results if result.problems]
    for result in failed:
        for problem in result.problems[:10]:
            console.print(f"{result.claim.name}: {problem}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
