"""Release an image to an environment, or roll the last release back.

    release.py deploy   --environment prod --project P [--image IMAGE@sha256:…]
    release.py rollback --environment prod --project P

The region is that of the environment's tfvars. Only one of these may run at a time.

Every version's workers fold the read models of every version that is kept. Therefore the services
are deployed and rolled back independently, and each keeps the revision that served before under the
tag `blue`. The tag `green` marks the new revisions, until the release has ended.
"""

import argparse
import functools
import os
import re
import sys

import environments
from exit_status import Failed, log
from gcloud import Cloud
from names import BLUE, GREEN, INGEST, PROJECT, QUERY, RELEASE_JOB
from smoke import WATCH_TRIES, Green
from watch import watch

# A release has this order, and a rollback the reverse one, because a query function may take a type
# of learners' posts that an older ingest does not know.
SERVICES = (PROJECT, INGEST, QUERY)
# For how many seconds the watch judges the requests to each new revision.
HOLD_S = {"dev": 0.0, "staging": 120.0, "prod": 600.0}


def main() -> int:
    arguments = _parse_arguments()
    cloud = Cloud(arguments.project, environments.read(arguments.environment)["region"])
    try:
        if arguments.command == "deploy":
            image = arguments.image or cloud.build()
            deploy(cloud, image, HOLD_S[arguments.environment], arguments.address)
        else:
            roll_back(cloud, only_unfinished=arguments.unfinished)
    except (Failed, KeyboardInterrupt) as error:
        sys.stderr.write(f"release: {str(error) or 'interrupted'}\n")
        return 1
    log("Done.")
    return 0


def deploy(cloud: Cloud, image: str, hold_s: float, address: str | None) -> None:
    """Release the image; if a step fails, route everything back and raise the error again."""
    blue = {name: cloud.describe(name).find_serving() for name in SERVICES}
    log(f"== Tag the serving revisions {BLUE}")
    for name in SERVICES:
        cloud.tag(name, BLUE, blue[name])
    try:
        log("== Drop the read models that nobody reads, and build the new ones")
        try:
            cloud.execute(RELEASE_JOB, "prune-schemas")
        except Failed as error:  # they cost only space and time
            log(f"    {error}")
        cloud.set_image(RELEASE_JOB, image)
        cloud.execute(RELEASE_JOB, "migrate")
        log("== Deploy the new revisions without traffic, and check them")
        green = {}
        for name in SERVICES:
            green[name] = cloud.deploy(name, image)
            cloud.tag(name, GREEN, green[name])
        address = address or cloud.describe(QUERY).find_tagged(GREEN)["url"]
        query = Green(address, os.environ.get("SMOKE_KEY"))
        query.check()
        checks = {QUERY: functools.partial(query.check, WATCH_TRIES)}
        for name in SERVICES:
            log(f"== {name}: 10 %, then all traffic")
            cloud.split_traffic(name, {BLUE: 90, GREEN: 10})
            if hold_s:
                watch(cloud, green[name], hold_s, checks.get(name))
            cloud.split_traffic(name, {GREEN: 100})
            if name == PROJECT:
                _set_images(cloud, image)
        log("== Move the views of analysts")
        cloud.execute(RELEASE_JOB, "move-views")
    except BaseException as error:
        log(f"FAILED: {str(error) or 'interrupted'}")
        roll_back(cloud, only_unfinished=True)
        raise
    for name in SERVICES:
        cloud.untag(name, GREEN)


def roll_back(cloud: Cloud, *, only_unfinished: bool) -> None:
    """Route all traffic to the revisions before the release; then move the jobs and the views back.

    In an unfinished release, a service without the tag `green` has not changed.
    """
    services = {name: cloud.describe(name) for name in SERVICES}
    names = [name for name in SERVICES if services[name].find_tagged(GREEN)]
    if PROJECT not in names:  # no release is unfinished
        names = [] if only_unfinished else [*SERVICES]
    if missing := [name for name in names if not services[name].find_tagged(BLUE)]:
        raise Failed(f"{', '.join(missing)} has no revision tagged {BLUE}: nothing to roll back to")
    log(f"== Roll back: {', '.join(names) or 'no service has changed'}")
    left = []
    for name in reversed(names):
        try:
            cloud.split_traffic(name, {BLUE: 100})
        except Failed as error:
            log(f"    {error}")
            left.append(name)
    if left:
        raise Failed(f"{', '.join(left)} did not change: run `release.py rollback` again")
    log("== Give the jobs and the views of analysts the version of the project function")
    _set_images(cloud, cloud.find_image(cloud.describe(PROJECT).find_serving()))
    cloud.execute(RELEASE_JOB, "move-views")
    for name in reversed(names):
        if services[name].find_tagged(GREEN):
            cloud.untag(name, GREEN)


def _set_images(cloud: Cloud, image: str) -> None:
    for job in cloud.list_jobs():
        cloud.set_image(job, image)


def _parse_image(text: str) -> str:
    if not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"expected IMAGE@sha256:DIGEST; found {text!r}")
    return text


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Release to an environment, or roll back.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("deploy", "rollback"):
        command = commands.add_parser(name)
        command.add_argument("--environment", required=True, choices=HOLD_S)
        command.add_argument("--project", required=True)
    deploying = commands.choices["deploy"]
    deploying.add_argument("--image", type=_parse_image, help="without it, build this clone")
    deploying.add_argument(
        "--address", help=f"URL of the load balancer that routes requests with SMOKE_KEY to {GREEN}"
    )
    commands.choices["rollback"].add_argument(
        "--unfinished", action="store_true", help="only a release that has not ended"
    )
    arguments = parser.parse_args()
    if arguments.command == "deploy" and arguments.address and not os.environ.get("SMOKE_KEY"):
        parser.error("SMOKE_KEY is not set: set it, or the load balancer sends the check to blue")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
