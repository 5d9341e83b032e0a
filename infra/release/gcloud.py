"""The `gcloud` calls that a release makes. `Cloud` has a method for each kind of call."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from exit_status import Failed, Interrupted, log

MISSING = (
    "gcloud is not installed or not in PATH: https://cloud.google.com/sdk/docs/install; then open "
    "a new shell"
)
_ERROR_CHARACTERS = 2_000  # an error message shows only the end of gcloud's stderr


@dataclass(frozen=True)
class Target:
    """A traffic target of a service: a share of all requests, a tag with its own URL, or both."""

    revision: str
    percent: int
    tag: str | None
    url: str | None


@dataclass(frozen=True)
class Service:
    """The state of a Cloud Run service."""

    name: str
    url: str
    targets: tuple[Target, ...]

    def percent_of(self, revision: str) -> int:
        """Return the percentage of the requests that the revision gets."""
        return sum(target.percent for target in self.targets if target.revision == revision)

    def serving_revision(self) -> str:
        """Return the revision that gets all requests. Raise Failed if there is no such revision."""
        revisions = sorted({target.revision for target in self.targets if target.percent})
        if len(revisions) != 1:
            raise Failed(
                f"{self.name}: outside a release, one revision must get all traffic; "
                f"found {', '.join(revisions) or 'no traffic'}: choose the revision with "
                f"`gcloud run services update-traffic {self.name} --to-revisions=REVISION=100`"
            )
        return revisions[0]

    def find_revision(self, tag: str) -> str | None:
        return next((target.revision for target in self.targets if target.tag == tag), None)

    def find_address(self, tag: str) -> str:
        """Return the tag's URL. Raise Failed if the tag has no URL."""
        for target in self.targets:
            if target.tag == tag and target.url:
                return target.url
        raise Failed(f"{self.name} has no address for the tag {tag}")


@dataclass(frozen=True)
class Cloud:
    """A project and region, with the timeouts of a gcloud call and of a job's execution."""

    project: str
    region: str
    timeout_s: float = 300.0
    job_timeout_s: float = 10_900.0  # longer than the release job's timeout in Terraform

    def describe(self, service: str) -> Service:
        answer = self._read("run", "services", "describe", service, *self._location())
        targets = tuple(map(_parse_target, answer["status"].get("traffic", ())))
        return Service(service, answer["status"]["url"], targets)

    def find_image(self, revision: str) -> str:
        answer = self._read("run", "revisions", "describe", revision, *self._location())
        return str(answer["spec"]["containers"][0]["image"])

    def deploy(self, service: str, image: str, tag: str) -> None:
        """Create a revision without traffic, wait until it is ready, and tag it.

        Deploying and tagging are two calls, because `deploy --tag` writes the revision's name into
        the service's template. Terraform's next change would then create another revision with
        this name, and Cloud Run would reject the change.
        """
        self._run("run", "deploy", service, *self._location(), f"--image={image}", "--no-traffic")
        answer = self._read("run", "services", "describe", service, *self._location())
        newest = answer["status"]["latestCreatedRevisionName"]
        if self.find_image(newest) != image:
            raise Failed(
                f"{service}: the newest revision, {newest}, does not run {image}: deploy again"
            )
        self.tag(service, tag, newest)

    def split_traffic(
        self,
        service: str,
        percents: Mapping[str, int],
        tag: str | None = None,
        untag: str | None = None,
    ) -> None:
        """Split the traffic by `percents`; add `tag` to the first revision and remove `untag`."""
        split = ",".join(f"{revision}={percent}" for revision, percent in percents.items())
        first = next(iter(percents))
        flags = [f"--update-tags={tag}={first}"] if tag else []
        flags += [f"--remove-tags={untag}"] if untag else []

        def is_reached(state: Service) -> bool:
            has_split = all(state.percent_of(name) == part for name, part in percents.items())
            has_tag = tag is None or state.find_revision(tag) == first
            return has_split and has_tag and not (untag and state.find_revision(untag))

        self._update_traffic(service, is_reached, *flags, f"--to-revisions={split}")

    def tag(self, service: str, tag: str, revision: str) -> None:
        """Give the revision a tag, and thereby a separate address."""
        self._update_traffic(
            service,
            lambda state: state.find_revision(tag) == revision,
            f"--update-tags={tag}={revision}",
        )

    def untag(self, service: str, tag: str) -> None:
        self._update_traffic(
            service, lambda state: not state.find_revision(tag), f"--remove-tags={tag}"
        )

    def set_job_image(self, job: str, image: str) -> None:
        """Set the image for all later executions of the job."""
        self._run("run", "jobs", "update", job, *self._location(), f"--image={image}")

    def execute(self, job: str, *arguments: str) -> None:
        """Execute the job with these arguments and wait for its end."""
        self._run(
            *("run", "jobs", "execute", job, *self._location()),
            *(f"--args={','.join(arguments)}", "--wait"),
            timeout_s=self.job_timeout_s,
        )

    def has_subscription(self, subscription: str) -> bool:
        """Return whether the subscription exists.

        Describe the subscription, because the pipeline's account may not list subscriptions.
        """
        try:
            self._read("pubsub", "subscriptions", "describe", subscription, *self._project())
        except Failed as error:
            if "NOT_FOUND" in str(error):
                return False
            raise
        return True

    def subscribe(self, subscription: str, topic: str, service: Service, tag: str) -> None:
        """Create a subscription that pushes the topic's messages to the tag's address.

        The subscription expires after a day without activity.
        """
        self._run(
            *("pubsub", "subscriptions", "create", subscription, *self._project()),
            *(f"--topic={topic}", f"--push-endpoint={service.find_address(tag)}"),
            f"--push-auth-service-account=progress-push@{self.project}.iam.gserviceaccount.com",
            # Cloud Run accepts the service's URL as a token's audience, but not a tag's URL.
            f"--push-auth-token-audience={service.url}",
            # Leave operations out, because only the serving revision runs them.
            '--message-filter=NOT attributes.command = "operation"',
            *("--ack-deadline=60", "--min-retry-delay=10s", "--max-retry-delay=600s"),
            *("--message-retention-duration=1h", "--expiration-period=1d"),
        )

    def unsubscribe(self, subscription: str) -> None:
        self._run("pubsub", "subscriptions", "delete", subscription, *self._project())

    def fetch_token(self) -> str:
        return run(["auth", "print-access-token", "--quiet"], self.timeout_s).strip()

    def _update_traffic(
        self, service: str, is_reached: Callable[[Service], bool], *flags: str
    ) -> None:
        """Update the traffic. Raise Failed if the service does not reach the requested state.

        gcloud's exit code is not enough: if the service's newest revision is not ready, the call
        fails, even if it has updated the traffic. Therefore describe the service after the call.
        """
        failure: Failed | None = None
        try:
            self._run("run", "services", "update-traffic", service, *self._location(), *flags)
        except Interrupted:
            raise
        except Failed as error:
            failure = error
        try:
            is_done = is_reached(self.describe(service))
        except Interrupted:
            raise
        except Failed:
            is_done = not failure
        if not is_done:
            raise failure or Failed(f"{service} did not apply `{shlex.join(flags)}`: try again")

    def _location(self) -> tuple[str, ...]:
        return (f"--region={self.region}", *self._project())

    def _project(self) -> tuple[str, ...]:
        return (f"--project={self.project}", "--quiet")

    def _read(self, *arguments: str) -> Any:
        return json.loads(run([*arguments, "--format=json"], self.timeout_s))

    def _run(self, *arguments: str, timeout_s: float | None = None) -> None:
        log(f"    $ {shlex.join(['gcloud', *arguments])}")
        run(arguments, timeout_s or self.timeout_s)


def _parse_target(answer: dict[str, Any]) -> Target:
    return Target(
        answer["revisionName"], answer.get("percent") or 0, answer.get("tag"), answer.get("url")
    )


def run(arguments: list[str] | tuple[str, ...], timeout_s: float) -> str:
    """Run gcloud and return its output. Raise Failed after an error or the timeout."""
    if shutil.which("gcloud") is None:
        raise Failed(MISSING)
    call = shlex.join(["gcloud", *arguments])
    with subprocess.Popen(
        ["gcloud", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"`{call}` did not end within {timeout_s:g} s and was killed") from None
        finally:
            if process.poll() is None:  # the call timed out, or a signal interrupted it
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise Failed(
            f"`{call}` failed ({process.returncode}): {errors.strip()[-_ERROR_CHARACTERS:]}"
        )
    return output
