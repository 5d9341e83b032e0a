"""The calls of `gcloud` that a release makes, one function each, and what they tell."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from outcome import Failed, Interrupted, say

_SHOWN = 2_000  # characters of an error


@dataclass(frozen=True)
class Target:
    """Where a service's requests go: a share of all, or those to a tag's own address, or both."""

    revision: str
    percent: int
    tag: str | None
    url: str | None


@dataclass(frozen=True)
class Service:
    """A Cloud Run service as it stands."""

    name: str
    url: str
    targets: tuple[Target, ...]

    def share(self, revision: str) -> int:
        """Of a hundred requests, how many the revision gets."""
        return sum(each.percent for each in self.targets if each.revision == revision)

    def serving(self) -> str:
        """The revision that gets every request. Failed where several share them."""
        shares = sorted({each.revision for each in self.targets if each.percent})
        if len(shares) != 1:
            raise Failed(
                f"{self.name}: {', '.join(shares) or 'no revision'} share the traffic, though no "
                f"release is under way: bring it to one of them by "
                f"`gcloud run services update-traffic {self.name} --to-revisions=REVISION=100`"
            )
        return shares[0]

    def tagged(self, tag: str) -> str | None:
        """The revision with the tag."""
        return next((each.revision for each in self.targets if each.tag == tag), None)

    def address(self, tag: str) -> str:
        """The tag's own URL. Failed where there is none."""
        for each in self.targets:
            if each.tag == tag and each.url:
                return each.url
        raise Failed(f"{self.name} has no address for the tag {tag}")


@dataclass(frozen=True)
class Cloud:
    """A project and a region; how long a call may take, in seconds."""

    project: str
    region: str
    patience: float = 300.0
    job_patience: float = 10_900.0  # longer than the release job's own

    def service(self, name: str) -> Service:
        """The service as it stands."""
        found = self._asked("run", "services", "describe", name, *self._where())
        targets = tuple(map(_target, found["status"].get("traffic", ())))
        return Service(name, found["status"]["url"], targets)

    def image(self, revision: str) -> str:
        """The image that the revision runs."""
        found = self._asked("run", "revisions", "describe", revision, *self._where())
        return str(found["spec"]["containers"][0]["image"])

    def deploy(self, service: str, image: str, tag: str) -> None:
        """A new revision without traffic, under the tag; back when it is ready.

        Two calls: `deploy --tag` writes a name for the revision into the service, and the next
        change that Terraform makes there would be refused, since that name is taken.
        """
        self._do("run", "deploy", service, *self._where(), f"--image={image}", "--no-traffic")
        found = self._asked("run", "services", "describe", service, *self._where())
        made = found["status"]["latestCreatedRevisionName"]
        if self.image(made) != image:
            raise Failed(f"{service}: {made} is the newest revision and not of {image}")
        self.tag(service, tag, made)

    def share(
        self,
        service: str,
        percents: Mapping[str, int],
        tag: str | None = None,
        untag: str | None = None,
    ) -> None:
        """Divide the traffic among revisions; one tag goes to the first of them, another away."""
        shares = ",".join(f"{revision}={percent}" for revision, percent in percents.items())
        first = next(iter(percents))
        tags = [f"--update-tags={tag}={first}"] if tag else []
        tags += [f"--remove-tags={untag}"] if untag else []

        def is_so(found: Service) -> bool:
            shared = all(found.share(each) == percent for each, percent in percents.items())
            tagged = tag is None or found.tagged(tag) == first
            return shared and tagged and not (untag and found.tagged(untag))

        self._traffic(service, is_so, *tags, f"--to-revisions={shares}")

    def tag(self, service: str, tag: str, revision: str) -> None:
        """Give the revision an address of its own."""
        self._traffic(
            service, lambda found: found.tagged(tag) == revision, f"--update-tags={tag}={revision}"
        )

    def untag(self, service: str, tag: str) -> None:
        """Take the tag away; one that is not there is no fault."""
        self._traffic(service, lambda found: not found.tagged(tag), f"--remove-tags={tag}")

    def give_image(self, job: str, image: str) -> None:
        """From now on the job runs the image."""
        self._do("run", "jobs", "update", job, *self._where(), f"--image={image}")

    def execute(self, job: str, *words: str) -> None:
        """Run the job with these arguments, to its end."""
        self._do(
            *("run", "jobs", "execute", job, *self._where(), f"--args={','.join(words)}", "--wait"),
            seconds=self.job_patience,
        )

    def is_subscribed(self, subscription: str) -> bool:
        """Whether there is a subscription of this name; the pipeline may not list all."""
        try:
            self._asked("pubsub", "subscriptions", "describe", subscription, *self._whose())
        except Failed as fault:
            if "NOT_FOUND" in str(fault):
                return False
            raise
        return True

    def subscribe(self, subscription: str, topic: str, service: Service, tag: str) -> None:
        """Push the topic's messages to the tag's address; forgotten after a day without use."""
        self._do(
            *("pubsub", "subscriptions", "create", subscription, *self._whose()),
            *(f"--topic={topic}", f"--push-endpoint={service.address(tag)}"),
            f"--push-auth-service-account=progress-push@{self.project}.iam.gserviceaccount.com",
            f"--push-auth-token-audience={service.url}",  # Cloud Run knows no tag's
            '--message-filter=NOT attributes.command = "operation"',  # the served one's
            *("--ack-deadline=60", "--min-retry-delay=10s", "--max-retry-delay=600s"),
            *("--message-retention-duration=1h", "--expiration-period=1d"),
        )

    def unsubscribe(self, subscription: str) -> None:
        """Remove the subscription."""
        self._do("pubsub", "subscriptions", "delete", subscription, *self._whose())

    def token(self) -> str:
        """What the other APIs take as a bearer's."""
        return run(["auth", "print-access-token", "--quiet"], self.patience).strip()

    def _traffic(self, service: str, is_so: Callable[[Service], bool], *flags: str) -> None:
        """What counts is how the service stands then, whatever gcloud says: it takes a call for
        failed as long as the newest of the revisions did not start, wherever the traffic goes.
        """
        wrong: Failed | None = None
        try:
            self._do("run", "services", "update-traffic", service, *self._where(), *flags)
        except Interrupted:
            raise
        except Failed as fault:
            wrong = fault
        try:
            is_done = is_so(self.service(service))
        except Interrupted:
            raise
        except Failed:
            is_done = not wrong
        if not is_done:
            raise wrong or Failed(f"{service} does not stand as `{shlex.join(flags)}` asked")

    def _where(self) -> tuple[str, ...]:
        return (f"--region={self.region}", *self._whose())

    def _whose(self) -> tuple[str, ...]:
        return (f"--project={self.project}", "--quiet")

    def _asked(self, *words: str) -> Any:
        return json.loads(run([*words, "--format=json"], self.patience))

    def _do(self, *words: str, seconds: float | None = None) -> None:
        say(f"    $ {shlex.join(['gcloud', *words])}")
        run(words, seconds or self.patience)


def _target(found: dict[str, Any]) -> Target:
    return Target(
        found["revisionName"], found.get("percent") or 0, found.get("tag"), found.get("url")
    )


def run(words: list[str] | tuple[str, ...], seconds: float) -> str:
    """What gcloud wrote. Failed where it did not end well, or not in time."""
    call = shlex.join(["gcloud", *words])
    with subprocess.Popen(
        ["gcloud", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"`{call}` was not done after {seconds:g} s and was ended") from None
        finally:
            if process.poll() is None:  # too slow, or we were interrupted
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise Failed(f"`{call}` failed ({process.returncode}): {errors.strip()[-_SHOWN:]}")
    return output
