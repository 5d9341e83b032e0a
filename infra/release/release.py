"""Release images to an environment with a blue-green release, or roll a release back.

    release.py deploy   --environment prod --project P --image query=…@sha256:… …
    release.py rollback --environment prod --project P    route traffic to the previous revisions
    release.py recover  --environment prod --project P    finish or roll back a killed release

The region is that of the environment's tfvars.
Only one release may run at a time; the pipeline ensures this.
Exit codes: 0 success, 1 failure (the error names the steps that are not done), 2 wrong usage.
"""

import argparse
import dataclasses
import os
import re
import signal
import sys
from types import FrameType

import environments
import rollback
from bluegreen import PLANS, Plan, Release
from exit_status import Failed, Interrupted, ignore_signals, log
from gcloud import Cloud
from names import GREEN, SERVICES

_IMAGE = re.compile(r"(ingest|project|query)=(\S+@sha256:[0-9a-f]{64})")


def main() -> int:
    arguments = _parse_arguments()
    region = environments.read(arguments.environment)["region"]
    cloud = Cloud(arguments.project, region, arguments.timeout, arguments.job_timeout)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        if arguments.command == "deploy":
            key = os.environ.get("SMOKE_KEY")
            images, plan = dict(arguments.image), _make_plan(arguments)
            Release(cloud, images, plan, arguments.address, key).run()
        elif arguments.command == "rollback":
            _roll_back(cloud)
        else:
            rollback.recover(cloud)
    except Failed as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    log("Done.")
    return 0


def _roll_back(cloud: Cloud) -> None:
    services = rollback.describe_services(cloud)
    blue = rollback.find_blue(services)
    is_serving = all(state.percent_of(blue[name]) == 100 for name, state in services.items())
    if is_serving and not rollback.is_unfinished(cloud, services):
        log(f"Blue has all traffic already: {', '.join(blue.values())}.")
        return
    ignore_signals()
    rollback.roll_back(cloud, blue)


def _interrupt(number: int, _: FrameType | None) -> None:
    ignore_signals()
    raise Interrupted(f"interrupted by {signal.Signals(number).name}")


def _make_plan(arguments: argparse.Namespace) -> Plan:
    """Return the environment's plan with the changes from the command line."""
    plan = PLANS[arguments.environment]
    changes = {
        name: value
        for name in ("hold", "delay", "every")
        if (value := getattr(arguments, name)) is not None
    }
    limits = plan.limits and dataclasses.replace(plan.limits, **changes)
    return Plan(arguments.steps or plan.steps, limits)


def _parse_image(text: str) -> tuple[str, str]:
    match = _IMAGE.fullmatch(text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"expected ingest=, project= or query=IMAGE@sha256:DIGEST; found {text!r}"
        )
    return f"progress-{match[1]}", match[2]


def _parse_steps(text: str) -> tuple[int, ...]:
    steps = tuple(map(int, text.split(",")))
    if sorted({*steps, 0, 100}) != [0, *steps]:
        raise argparse.ArgumentTypeError("expected increasing percentages that end with 100")
    return steps


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Release to an environment, or roll back.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("deploy", "rollback", "recover"):
        command = commands.add_parser(name)
        command.add_argument("--environment", required=True, choices=PLANS)
        command.add_argument("--project", required=True)
        command.add_argument(
            "--timeout", type=float, default=300, help="timeout of one gcloud call in seconds"
        )
        command.add_argument(
            "--job-timeout", type=float, default=10_900, help="timeout of one job in seconds"
        )
    deploy = commands.choices["deploy"]
    deploy.add_argument(
        "--image", type=_parse_image, action="append", default=[], help="repeat for each function"
    )
    deploy.add_argument(
        "--address", help=f"URL of the load balancer that routes requests with SMOKE_KEY to {GREEN}"
    )
    deploy.add_argument("--steps", type=_parse_steps, help="percentages, like 5,25,50,100")
    deploy.add_argument("--hold", type=float, help="seconds of traffic that each step judges")
    deploy.add_argument("--delay", type=float, help="seconds until Monitoring shows a request")
    deploy.add_argument("--every", type=float, help="seconds between two measurements")
    arguments = parser.parse_args()
    if arguments.command == "deploy" and sorted(dict(arguments.image)) != sorted(SERVICES):
        parser.error("expected --image for each of ingest, project and query")
    if arguments.command == "deploy" and arguments.address and not os.environ.get("SMOKE_KEY"):
        parser.error("SMOKE_KEY is not set: set it, or the load balancer sends the check to blue")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
