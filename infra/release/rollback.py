"""Roll back to blue from any stage of a release, and recover unfinished releases.

The read models of each serving revision must stay up to date. A rollback therefore routes the
wake-ups to blue's project function first, then brings blue's read models up to date, and only then
routes the query function's traffic to blue.
"""

import time
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from exit_status import Failed, Interrupted, log
from gcloud import Cloud, Service
from names import (
    BLUE,
    COMMANDS,
    GREEN,
    GREEN_SUBSCRIPTION,
    INGEST,
    OTHER_JOBS,
    PROJECT,
    QUERY,
    RELEASE_JOB,
    SERVICES,
)

_TRIES = 3
_RETRY_DELAY_S = 1.0


T = TypeVar("T")
P = ParamSpec("P")


class BestEffort:
    """A series of calls. Each call is retried, and a failed call does not prevent the others."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def run(self, step: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return the call's result. If every try fails, record the step and return None."""
        for tries_left in reversed(range(_TRIES)):
            try:
                return call(*args, **kwargs)
            except Interrupted:
                raise
            except Failed as error:
                log(f"    {step}: {error}")
                if not tries_left:
                    self.failures.append(step)
                    return None
                time.sleep(_RETRY_DELAY_S)
        return None

    def raise_if_incomplete(self, command: str) -> None:
        """If steps failed, raise Failed with these steps and the `command` that repeats them."""
        if self.failures:
            raise Failed(f"not done: {', '.join(self.failures)}; run {command} until it succeeds")


def describe_services(cloud: Cloud) -> dict[str, Service]:
    """Return the current state of the three services, by name."""
    return {name: cloud.describe(name) for name in SERVICES}


def is_unfinished(cloud: Cloud, services: Mapping[str, Service]) -> bool:
    """Return whether a release started and was neither finished nor rolled back."""
    has_tag = any(service.find_revision(GREEN) for service in services.values())
    return has_tag or cloud.has_subscription(GREEN_SUBSCRIPTION)


def is_past_no_return(services: Mapping[str, Service]) -> bool:
    """Return whether the project function's traffic goes to green.

    If so, green has passed all checks.
    """
    green = services[PROJECT].find_revision(GREEN)
    return green is not None and services[PROJECT].percent_of(green) == 100


def recover(cloud: Cloud) -> None:
    """Finish an unfinished release if it is past the point of no return; otherwise roll it back."""
    services = describe_services(cloud)
    if not is_unfinished(cloud, services):
        log("No release is unfinished. Only the release job's image is reset.")
        cloud.set_job_image(RELEASE_JOB, cloud.find_image(services[PROJECT].serving_revision()))
    elif is_past_no_return(services):
        log("A release was killed after green had taken over: finishing it.")
        finish(cloud, services[PROJECT].serving_revision())
    else:
        log("A release was killed before green had taken over: rolling it back.")
        roll_back(cloud, find_blue(services))


def find_blue(services: Mapping[str, Service]) -> dict[str, str]:
    """Return the revisions tagged blue. Raise Failed if a service has no such revision."""
    blue = {name: service.find_revision(BLUE) for name, service in services.items()}
    missing = [name for name, revision in blue.items() if revision is None]
    if missing:
        raise Failed(
            f"{', '.join(missing)} has no revision tagged {BLUE}: nothing to roll back to. The "
            "traffic is unchanged; route it by hand with `gcloud run services update-traffic`"
        )
    return {name: revision for name, revision in blue.items() if revision}


def roll_back(cloud: Cloud, blue: Mapping[str, str]) -> None:
    """Route all traffic to blue's revisions and remove what the release created.

    Each call is retried, and a failed call does not prevent the others. If steps failed, raise
    Failed with these steps at the end.
    """
    log(f"== Roll back to {BLUE}: {', '.join(blue.values())}")
    steps = BestEffort()
    services = steps.run("the state of the services", describe_services, cloud) or {}
    if services and services[PROJECT].percent_of(blue[PROJECT]) != 100:
        _catch_up(cloud, steps, services, blue)
    # Route the traffic even if blue has all of it. An earlier, interrupted call may still take
    # effect, and route traffic to green.
    for name in (QUERY, INGEST, PROJECT):
        untag = GREEN if name != PROJECT else None
        steps.run(f"{name}'s traffic", cloud.split_traffic, name, {blue[name]: 100}, untag=untag)
    _move_jobs_and_views(cloud, steps, blue[PROJECT])
    _unsubscribe(cloud, steps)
    if not steps.failures:  # until then, the tag shows that the rollback is unfinished
        steps.run(f"{PROJECT}'s tag", cloud.untag, PROJECT, GREEN)
    steps.raise_if_incomplete("`release.py rollback`")
    log(f"Blue has all traffic: {', '.join(blue.values())}.")


def _catch_up(
    cloud: Cloud, steps: BestEffort, services: Mapping[str, Service], blue: Mapping[str, str]
) -> None:
    """Bring blue's read models up to date before blue serves.

    If green still serves queries, send wake-ups to green too, so that its read models stay current.
    """
    log("Bring blue's read models up to date before blue serves.")
    if services[QUERY].percent_of(blue[QUERY]) != 100:
        green = steps.run("green's revision", services[PROJECT].serving_revision)
        if green:
            steps.run("green's wake-ups", send_wakeups, cloud, green)
    steps.run("project's traffic", cloud.split_traffic, PROJECT, {blue[PROJECT]: 100})
    _set_job_images(cloud, steps, blue[PROJECT], (RELEASE_JOB,))
    steps.run("blue's batch run", cloud.execute, RELEASE_JOB, "batch")


def send_wakeups(cloud: Cloud, revision: str) -> None:
    """Give this revision of the project function the tag `green` and a copy of each wake-up."""
    if cloud.describe(PROJECT).find_revision(GREEN) != revision:
        cloud.tag(PROJECT, GREEN, revision)
    if not cloud.has_subscription(GREEN_SUBSCRIPTION):
        cloud.subscribe(GREEN_SUBSCRIPTION, COMMANDS, cloud.describe(PROJECT), GREEN)


def finish(cloud: Cloud, green: str) -> None:
    """Move the jobs and the views of analysts to green; remove what the release created.

    The project function's tag is removed last. Until then, this tag shows that green serves and
    that the release is unfinished.
    """
    steps = BestEffort()
    _move_jobs_and_views(cloud, steps, green)
    _unsubscribe(cloud, steps)
    for name in (QUERY, INGEST):
        steps.run(f"{name}'s tag", cloud.untag, name, GREEN)
    if not steps.failures:
        steps.run(f"{PROJECT}'s tag", cloud.untag, PROJECT, GREEN)
    steps.raise_if_incomplete("`release.py recover`")


def _move_jobs_and_views(cloud: Cloud, steps: BestEffort, revision: str) -> None:
    """Let all jobs run the image of the revision, and the views read its read models.

    The read models of the other revision get no wake-ups any more. If an image could not be set,
    the views stay, because the release job may still have the other image.
    """
    failed = len(steps.failures)
    _set_job_images(cloud, steps, revision, (RELEASE_JOB, *OTHER_JOBS))
    if len(steps.failures) == failed:
        steps.run("the views of analysts", cloud.execute, RELEASE_JOB, "move-views")


def _set_job_images(cloud: Cloud, steps: BestEffort, revision: str, jobs: tuple[str, ...]) -> None:
    image = steps.run(f"the image of {revision}", cloud.find_image, revision)
    if image:
        for job in jobs:
            steps.run(f"{job}'s image", cloud.set_job_image, job, image)


def _unsubscribe(cloud: Cloud, steps: BestEffort) -> None:
    def unsubscribe() -> None:
        if cloud.has_subscription(GREEN_SUBSCRIPTION):
            cloud.unsubscribe(GREEN_SUBSCRIPTION)

    steps.run("green's subscription", unsubscribe)
