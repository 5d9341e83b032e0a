"""Blue-green release: deploy green beside blue, check green, and move the traffic to it in steps.

Blue means the revisions that serve before the release. Green means the revisions that the release
deploys. The point of no return is the step that routes the project function's wake-ups to green. By
then green serves 100 % of the requests and was watched for errors. A failure before this step rolls
back to blue. After a failure past this step, green keeps serving, and `recover` or the next release
does the remaining cleanup.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import rollback
from exit_status import Failed, ignore_signals, log
from gcloud import Cloud
from names import BLUE, GREEN, INGEST, PROJECT, QUERY, RELEASE_JOB, SERVICES
from smoke import WATCH_TRIES, Green, check_address
from watch import Limits, Monitoring, watch


@dataclass(frozen=True)
class Plan:
    """The percentage of the traffic that green gets in each step, and the limits of the watch."""

    steps: tuple[int, ...]
    limits: Limits | None  # None: no watch (in dev, which has no learners)


PLANS = {
    "dev": Plan((100,), None),
    "staging": Plan((100,), Limits(hold=120)),  # to test the watch; only prod needs its protection
    "prod": Plan((5, 25, 50, 100), Limits(hold=600)),
}


@dataclass(frozen=True)
class Release:
    """A release to a project; `images` is keyed by service."""

    cloud: Cloud
    images: Mapping[str, str]
    plan: Plan
    address: str | None  # the load balancer in front of the query function
    key: str | None = None  # the load balancer routes requests with this key to green

    def run(self) -> None:
        """Release the images; raise Failed if green did not take over.

        Blue serves after a failure, unless the error says otherwise.
        """
        if self.address:
            check_address(self.address)
        blue = self._begin()
        try:
            self._expand(blue)
            green = self._deploy(blue)
            self._shift(blue, green)
            log("== Route the project function's wake-ups to green")
            self.cloud.split_traffic(PROJECT, {green[PROJECT]: 100})
        except BaseException as error:
            ignore_signals()
            log(f"FAILED: {error}")
            rollback.roll_back(self.cloud, blue)
            raise
        ignore_signals()
        log("== Green serves: clean up after the release")
        rollback.finish(self.cloud, green[PROJECT])

    def _begin(self) -> dict[str, str]:
        """Tag the serving revision of each service as blue; return these revisions."""
        log("== Tag the serving revisions blue")
        services = rollback.describe_services(self.cloud)
        if rollback.is_unfinished(self.cloud, services):
            rollback.recover(self.cloud)
            services = rollback.describe_services(self.cloud)
        blue = {name: service.serving_revision() for name, service in services.items()}
        for name in SERVICES:
            self.cloud.untag(name, BLUE)
        for name in SERVICES:
            self.cloud.split_traffic(name, {blue[name]: 100}, tag=BLUE)
        return blue

    def _expand(self, blue: Mapping[str, str]) -> None:
        """Drop unused read models, then apply migrations and build green's read models."""
        log("== With blue's image, drop the read models that no serving revision uses")
        self.cloud.set_job_image(RELEASE_JOB, self.cloud.find_image(blue[PROJECT]))
        self.cloud.execute(RELEASE_JOB, "prune-schemas")
        log("== Migrate the database for green and keep what blue needs")
        self.cloud.set_job_image(RELEASE_JOB, self.images[PROJECT])
        self.cloud.execute(RELEASE_JOB, "migrate")

    def _deploy(self, blue: Mapping[str, str]) -> dict[str, str]:
        """Deploy green without traffic, send it wake-ups and check it; return green's revisions."""
        log("== Deploy green without traffic")
        for name in SERVICES:
            self.cloud.deploy(name, self.images[name], GREEN)
        services = rollback.describe_services(self.cloud)
        green = {name: service.find_revision(GREEN) or "" for name, service in services.items()}
        unchanged = [name for name in SERVICES if green[name] in ("", blue[name])]
        if unchanged:
            raise Failed(f"{', '.join(unchanged)} has no new revision tagged {GREEN}: deploy again")
        log("== Send wake-ups to green's project function as well")
        rollback.send_wakeups(self.cloud, green[PROJECT])
        log("== Check green")
        self._green().check()
        return green

    def _shift(self, blue: Mapping[str, str], green: Mapping[str, str]) -> None:
        for percent in self.plan.steps:
            log(f"== Send {percent} % of the traffic to green")
            # This run updates green's weeks, levels and domains, and folds shards that are behind.
            self.cloud.execute(RELEASE_JOB, "batch")
            for name in (INGEST, QUERY):
                rest = {blue[name]: 100 - percent} if percent < 100 else {}
                self.cloud.split_traffic(name, {green[name]: percent, **rest})
            if self.plan.limits:
                self._watch(green, self.plan.limits)

    def _watch(self, green: Mapping[str, str], limits: Limits) -> None:
        log(f"    watching {limits.hold:g} s of traffic; Monitoring lags by {limits.delay:g} s")
        revisions = {name.removeprefix("progress-"): green[name] for name in SERVICES}
        monitoring = Monitoring(self.cloud.project, self.cloud.fetch_token)
        check = functools.partial(self._green().check, WATCH_TRIES)
        watch(monitoring, revisions, check, limits)

    def _green(self) -> Green:
        if self.address:
            return Green(self.address, self.key)
        return Green(self.cloud.describe(QUERY).find_address(GREEN))
