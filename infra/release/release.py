"""Releases images to an environment, blue-green; or takes a release back.

    release.py deploy --environment prod --project P --region R --image query=…@sha256:… …
    release.py back   --project P --region R    all traffic to the revisions served before
    release.py mend   --project P --region R    what a release that was killed left

One release at a time: whoever starts it sees to that, as the pipeline does.
Exit codes: 0 done, 1 failed, with what was left, 2 wrong usage.
"""

import argparse
import dataclasses
import os
import re
import signal
import sys
from types import FrameType

import wayback
from bluegreen import PLANS, Plan, Release
from gcloud import Cloud
from names import GREEN, SERVICES
from outcome import Failed, Interrupted, deafen, say

_IMAGE = re.compile(r"(ingest|project|query)=(\S+@sha256:[0-9a-f]{64})")


def main() -> int:
    """The exit code."""
    given = _arguments()
    cloud = Cloud(given.project, given.region, given.patience, given.job_patience)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _interrupted)
    try:
        if given.command == "deploy":
            key = os.environ.get("SMOKE_KEY")
            Release(cloud, dict(given.image), _plan(given), given.address, key).run()
        elif given.command == "back":
            _back(cloud)
        else:
            wayback.mend(cloud)
    except Failed as fault:
        sys.stderr.write(f"release: {fault}\n")
        return 1
    say("Done.")
    return 0


def _back(cloud: Cloud) -> None:
    services = wayback.look(cloud)
    blue = wayback.marked(services)
    served = all(each.share(blue[name]) == 100 for name, each in services.items())
    if served and not wayback.is_unfinished(cloud, services):
        say(f"Blue has all traffic already: {', '.join(blue.values())}.")
        return
    deafen()
    wayback.go_back(cloud, blue)


def _interrupted(number: int, _: FrameType | None) -> None:
    deafen()
    raise Interrupted(f"interrupted by {signal.Signals(number).name}")


def _plan(given: argparse.Namespace) -> Plan:
    """The environment's, as the command changes it."""
    plan = PLANS[given.environment]
    changed = {
        name: value
        for name in ("hold", "delay", "every")
        if (value := getattr(given, name)) is not None
    }
    limits = plan.limits and dataclasses.replace(plan.limits, **changed)
    return Plan(given.steps or plan.steps, limits)


def _image(text: str) -> tuple[str, str]:
    found = _IMAGE.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(
            f"expected ingest=, project= or query=IMAGE@sha256:DIGEST; found {text!r}"
        )
    return f"progress-{found[1]}", found[2]


def _steps(text: str) -> tuple[int, ...]:
    steps = tuple(map(int, text.split(",")))
    if sorted({*steps, 0, 100}) != [0, *steps]:
        raise argparse.ArgumentTypeError("expected percents that grow, the last of them 100")
    return steps


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Releases to an environment, or takes it back.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("deploy", "back", "mend"):
        command = commands.add_parser(name)
        command.add_argument("--project", required=True)
        command.add_argument("--region", required=True)
        command.add_argument("--patience", type=float, default=300, help="seconds for a call")
        command.add_argument("--job-patience", type=float, default=10_900, help="seconds for a job")
    deploy = commands.choices["deploy"]
    deploy.add_argument("--environment", required=True, choices=PLANS)
    deploy.add_argument("--image", type=_image, action="append", default=[], help="three of them")
    deploy.add_argument("--address", help=f"the load balancer's; SMOKE_KEY leads to {GREEN}")
    deploy.add_argument("--steps", type=_steps, help="percents, like 5,25,50,100")
    deploy.add_argument("--hold", type=float, help="seconds of traffic that are judged at a step")
    deploy.add_argument("--delay", type=float, help="seconds that Monitoring is late")
    deploy.add_argument("--every", type=float, help="seconds between two looks")
    given = parser.parse_args()
    if given.command == "deploy" and sorted(dict(given.image)) != sorted(SERVICES):
        parser.error("expected --image for each of ingest, project and query")
    if given.command == "deploy" and given.address and not os.environ.get("SMOKE_KEY"):
        parser.error("SMOKE_KEY is not set: the load balancer would lead to what serves, not green")
    return given


if __name__ == "__main__":
    sys.exit(main())
