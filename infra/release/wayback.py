"""The way back: all traffic to blue, from wherever a release stood; and what an ended one left.

Whichever revision learners ask, its read models are folded: query goes back to blue only where
project's wake-ups go to blue already.
"""

import time
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from gcloud import Cloud, Service
from names import (
    BLUE,
    COMMANDS,
    GREEN,
    GREEN_SUBSCRIPTION,
    INGEST,
    PROJECT,
    QUERY,
    RELEASE_JOB,
    SCHEDULED_JOBS,
    SERVICES,
)
from outcome import Failed, Interrupted, say

_TRIES = 3
_PAUSE = 1.0


T = TypeVar("T")
P = ParamSpec("P")


class Trying:
    """Calls that are made whatever becomes of the others, and again where they fail."""

    def __init__(self) -> None:
        self.left: list[str] = []

    def do(self, what: str, call: Callable[P, T], *given: P.args, **named: P.kwargs) -> T | None:
        """What the call gave; None where it failed each time, which is noted."""
        for left in reversed(range(_TRIES)):
            try:
                return call(*given, **named)
            except Interrupted:
                raise
            except Failed as fault:
                say(f"    {what}: {fault}")
                if not left:
                    self.left.append(what)
                    return None
                time.sleep(_PAUSE)
        return None

    def end(self, again: str) -> None:
        """Failed where something was left undone."""
        if self.left:
            raise Failed(f"left undone: {', '.join(self.left)}; run {again} until nothing is left")


def look(cloud: Cloud) -> dict[str, Service]:
    """The three services as they stand."""
    return {name: cloud.service(name) for name in SERVICES}


def is_unfinished(cloud: Cloud, services: Mapping[str, Service]) -> bool:
    """Whether a release began that neither ended nor went back."""
    tagged = any(each.tagged(GREEN) for each in services.values())
    return tagged or cloud.is_subscribed(GREEN_SUBSCRIPTION)


def is_past_return(services: Mapping[str, Service]) -> bool:
    """Whether project's wake-ups go to green: then green has been watched and serves for good."""
    green = services[PROJECT].tagged(GREEN)
    return green is not None and services[PROJECT].share(green) == 100


def mend(cloud: Cloud) -> None:
    """What a release that died left: ended where it was past return, else taken back."""
    services = look(cloud)
    if not is_unfinished(cloud, services):
        say("No release was left unfinished; at most the release job has an image to come.")
        cloud.give_image(RELEASE_JOB, cloud.image(services[PROJECT].serving()))
    elif is_past_return(services):
        say("A release died after green had taken over: it is brought to its end.")
        finish(cloud, services[PROJECT].serving())
    else:
        say("A release died before green had taken over: it is taken back.")
        go_back(cloud, marked(services))


def marked(services: Mapping[str, Service]) -> dict[str, str]:
    """The revisions tagged blue. Failed where a service has none."""
    blue = {name: each.tagged(BLUE) for name, each in services.items()}
    missing = [name for name, revision in blue.items() if revision is None]
    if missing:
        raise Failed(
            f"{', '.join(missing)} has no revision tagged {BLUE}: there is nothing to go back to, "
            "and traffic stays as it is; `gcloud run services update-traffic` moves it by hand"
        )
    return {name: revision for name, revision in blue.items() if revision}


def go_back(cloud: Cloud, blue: Mapping[str, str]) -> None:
    """All traffic to these revisions. Failed where something of green's is left, which is named.

    Each call is tried again, and one that fails keeps none of the others from being made.
    """
    say(f"== Back to {BLUE}: {', '.join(blue.values())}")
    trying = Trying()
    services = trying.do("looking at the services", look, cloud) or {}
    if services and services[PROJECT].share(blue[PROJECT]) != 100:
        _catch_up(cloud, trying, services, blue)
    for name in (QUERY, INGEST, PROJECT):  # again: a call that was cut off may have landed since
        trying.do(f"{name}'s traffic", cloud.share, name, {blue[name]: 100}, untag=GREEN)
    _give_images(cloud, trying, blue[PROJECT], (RELEASE_JOB, *SCHEDULED_JOBS))
    _unsubscribe(cloud, trying)
    trying.end("`release.py back`")
    say(f"Blue has all traffic: {', '.join(blue.values())}.")


def _catch_up(
    cloud: Cloud, trying: Trying, services: Mapping[str, Service], blue: Mapping[str, str]
) -> None:
    """Blue's read models are folded up to now before learners ask them; green's go on meanwhile."""
    say("Blue's read models are brought up to date first.")
    if services[QUERY].share(blue[QUERY]) != 100:
        trying.do("green's wake-ups", listen, cloud, services[PROJECT].serving())
    trying.do("project's traffic", cloud.share, PROJECT, {blue[PROJECT]: 100})
    _give_images(cloud, trying, blue[PROJECT], (RELEASE_JOB,))
    trying.do("blue's batch run", cloud.execute, RELEASE_JOB, "batch")


def listen(cloud: Cloud, revision: str) -> None:
    """The wake-ups go to this revision of project, too."""
    if cloud.service(PROJECT).tagged(GREEN) != revision:
        cloud.tag(PROJECT, GREEN, revision)
    if not cloud.is_subscribed(GREEN_SUBSCRIPTION):
        cloud.subscribe(GREEN_SUBSCRIPTION, COMMANDS, cloud.service(PROJECT), GREEN)


def finish(cloud: Cloud, green: str) -> None:
    """Green's revision of project serves: the jobs run its image, what was for the release goes.

    Project's tag goes last: as long as something is left, it tells who serves.
    """
    trying = Trying()
    _give_images(cloud, trying, green, (RELEASE_JOB, *SCHEDULED_JOBS))
    _unsubscribe(cloud, trying)
    for name in (QUERY, INGEST):
        trying.do(f"{name}'s tag", cloud.untag, name, GREEN)
    if not trying.left:
        trying.do(f"{PROJECT}'s tag", cloud.untag, PROJECT, GREEN)
    trying.end("`release.py mend`")


def _give_images(cloud: Cloud, trying: Trying, revision: str, jobs: tuple[str, ...]) -> None:
    image = trying.do(f"the image of {revision}", cloud.image, revision)
    if image:
        for job in jobs:
            trying.do(f"{job}'s image", cloud.give_image, job, image)


def _unsubscribe(cloud: Cloud, trying: Trying) -> None:
    def unsubscribe() -> None:
        if cloud.is_subscribed(GREEN_SUBSCRIPTION):
            cloud.unsubscribe(GREEN_SUBSCRIPTION)

    trying.do("green's subscription", unsubscribe)
