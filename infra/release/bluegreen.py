"""A release: green beside blue, looked at, given the traffic step by step; or all back to blue.

The point of no return is the moment at which project's wake-ups go to green: green has been
watched under all of the traffic by then. What fails before it ends with blue; what fails after it
leaves green served and something to tidy up, which `mend` or the next release does.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import wayback
from gcloud import Cloud
from names import BLUE, GREEN, INGEST, PROJECT, QUERY, RELEASE_JOB, SERVICES
from outcome import Failed, deafen, say
from smoke import WATCHED, Green
from watch import Limits, Monitoring, watch


@dataclass(frozen=True)
class Plan:
    """The shares of the traffic that green gets one after the other, and how each is watched."""

    steps: tuple[int, ...]
    limits: Limits | None  # None: nobody is there to be watched


PLANS = {
    "dev": Plan((100,), None),
    "staging": Plan((100,), Limits(hold=120)),  # the watch is tried here before it is needed
    "prod": Plan((5, 25, 50, 100), Limits(hold=600)),
}


@dataclass(frozen=True)
class Release:
    """Images by service, for a project."""

    cloud: Cloud
    images: Mapping[str, str]
    plan: Plan
    address: str | None  # of the load balancer in front of query
    key: str | None = None  # by which that leads to green

    def run(self) -> None:
        """Failed where green did not take over; blue serves then, unless it says otherwise."""
        blue = self._begin()
        try:
            self._expand(blue)
            green = self._deploy(blue)
            self._shift(blue, green)
            say("== Project's wake-ups go to green")
            self.cloud.share(PROJECT, {green[PROJECT]: 100})
        except BaseException as fault:
            deafen()
            say(f"FAILED: {fault}")
            wayback.go_back(self.cloud, blue)
            raise
        deafen()
        say("== Green serves; what is left of the release is tidied up")
        wayback.finish(self.cloud, green[PROJECT])

    def _begin(self) -> dict[str, str]:
        """The revisions that serve, tagged blue on all three services or on none."""
        say("== Blue is what serves now")
        services = wayback.look(self.cloud)
        if wayback.is_unfinished(self.cloud, services):
            wayback.mend(self.cloud)
            services = wayback.look(self.cloud)
        blue = {name: each.serving() for name, each in services.items()}
        for name in SERVICES:
            self.cloud.untag(name, BLUE)
        for name in SERVICES:
            self.cloud.share(name, {blue[name]: 100}, tag=BLUE)
        return blue

    def _expand(self, blue: Mapping[str, str]) -> None:
        """Older read models go, green's are made beside blue's, the migrations are applied."""
        say("== Read models that nobody serves are dropped, by blue")
        self.cloud.give_image(RELEASE_JOB, self.cloud.image(blue[PROJECT]))
        self.cloud.execute(RELEASE_JOB, "contract")
        say("== The database is brought to what green needs, beside what blue needs")
        self.cloud.give_image(RELEASE_JOB, self.images[PROJECT])
        self.cloud.execute(RELEASE_JOB, "migrate")

    def _deploy(self, blue: Mapping[str, str]) -> dict[str, str]:
        """Green's revisions: ready, without traffic, its read models folded from now on."""
        say("== Green is deployed without traffic")
        for name in SERVICES:
            self.cloud.deploy(name, self.images[name], GREEN)
        services = wayback.look(self.cloud)
        green = {name: each.tagged(GREEN) or "" for name, each in services.items()}
        same = [name for name in SERVICES if green[name] in ("", blue[name])]
        if same:
            raise Failed(f"{', '.join(same)} has no new revision tagged {GREEN}: deploy again")
        say("== Wake-ups go to green's project function, too")
        wayback.listen(self.cloud, green[PROJECT])
        say("== Green is asked")
        self._green().check()
        return green

    def _shift(self, blue: Mapping[str, str], green: Mapping[str, str]) -> None:
        for percent in self.plan.steps:
            say(f"== {percent} % of the traffic to green")
            self.cloud.execute(
                RELEASE_JOB, "batch"
            )  # green's weeks, levels and domains; and a sweep
            for name in (INGEST, QUERY):
                rest = {blue[name]: 100 - percent} if percent < 100 else {}
                self.cloud.share(name, {green[name]: percent, **rest})
            if self.plan.limits:
                self._watch(green, self.plan.limits)

    def _watch(self, green: Mapping[str, str], limits: Limits) -> None:
        say(f"    watched for {limits.hold:g} s, which Monitoring shows {limits.delay:g} s later")
        revisions = {name.removeprefix("progress-"): green[name] for name in SERVICES}
        monitoring = Monitoring(self.cloud.project, self.cloud.token)
        check = functools.partial(self._green().check, WATCHED)
        watch(monitoring, revisions, check, limits)

    def _green(self) -> Green:
        if self.address:
            return Green(self.address, self.key)
        return Green(self.cloud.service(QUERY).address(GREEN))
