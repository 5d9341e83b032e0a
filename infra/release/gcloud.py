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
from pathlib import Path
from typing import Any

from exit_status import Failed, log

MISSING = (
    "gcloud is not installed or not in PATH: https://cloud.google.com/sdk/docs/install; then open "
    "a new shell"
)
_BUILD_REGION = "europe-west1"  # new projects may build in six regions only
ROOT = Path(__file__).resolve().parents[2]
_ERROR_CHARACTERS = 2_000  # an error message shows only the end of gcloud's stderr


@dataclass(frozen=True)
class Service:
    """The state of a Cloud Run service. A target has a revision, and a share, a tag or both."""

    name: str
    url: str
    targets: tuple[dict[str, Any], ...]

    def find_serving(self) -> str:
        """Return the revision that gets all requests. Raise Failed if there is no such revision."""
        revisions = sorted({t["revisionName"] for t in self.targets if t.get("percent")})
        if len(revisions) != 1:
            raise Failed(
                f"{self.name}: outside a release, one revision must get all traffic; "
                f"found {', '.join(revisions) or 'no traffic'}: run `release.py rollback`, or "
                f"`gcloud run services update-traffic {self.name} --to-revisions=REVISION=100`"
            )
        return str(revisions[0])

    def find_tagged(self, tag: str) -> dict[str, Any]:
        """Return the target with the tag, which has its revision and URL; {} if there is none."""
        return next((target for target in self.targets if target.get("tag") == tag), {})

    def percent_of(self, tag: str) -> int:
        revision = self.find_tagged(tag).get("revisionName")
        return sum(t.get("percent") or 0 for t in self.targets if t["revisionName"] == revision)


@dataclass(frozen=True)
class Cloud:
    """A project and region, with the timeouts of a gcloud call and of a job's execution."""

    project: str
    region: str
    timeout_s: float = 300.0
    job_timeout_s: float = 10_900.0  # longer than the release job's timeout in Terraform

    def describe(self, service: str) -> Service:
        status = self._read("services", "describe", service)["status"]
        return Service(service, status["url"], tuple(status.get("traffic", ())))

    def find_image(self, revision: str) -> str:
        """Return the revision's image with its digest.

        Terraform may have named the first image by its tag. A revision keeps the digest, but a job
        looks the tag up at each execution: https://cloud.google.com/run/docs/managing/jobs
        """
        answer = self._read("revisions", "describe", revision)
        image = str(answer["spec"]["containers"][0]["image"])
        return image if "@" in image else str(answer["status"]["imageDigest"])

    def build(self) -> str:
        """Build this clone, as step 7 of docs/first-cloud.md, and return the image by digest."""
        arguments = (
            "builds", "submit", str(ROOT), f"--config={ROOT}/infra/docker/build.yaml",
            f"--gcs-source-staging-dir=gs://{self.project}-sources/builds",
            f"--substitutions=_REGION={self.region}", f"--region={_BUILD_REGION}",
            f"--project={self.project}", "--suppress-logs", "--quiet", "--format=json",
        )  # fmt: skip
        log(f"    $ {shlex.join(['gcloud', *arguments])}")
        (built,) = json.loads(run(arguments, self.job_timeout_s))["results"]["images"]
        return f"{built['name'].rpartition(':')[0]}@{built['digest']}"

    def deploy(self, service: str, image: str) -> str:
        """Create a revision without traffic, wait until it is ready, and return its name.

        It gets its tag later, because `deploy --tag` writes the revision's name into the service's
        template. Terraform's next change would then create another revision with this name, and
        Cloud Run would reject the change.
        """
        self._run("deploy", service, f"--image={image}", "--no-traffic")
        answer = self._read("services", "describe", service)
        newest = str(answer["status"]["latestCreatedRevisionName"])
        if self.find_image(newest) != image:
            raise Failed(
                f"{service}: the newest revision, {newest}, does not run {image}: deploy again"
            )
        return newest

    def split_traffic(self, service: str, percents: Mapping[str, int]) -> None:
        def is_reached(state: Service) -> bool:
            return all(state.percent_of(tag) == percent for tag, percent in percents.items())

        split = ",".join(f"{tag}={percent}" for tag, percent in percents.items())
        self._update_traffic(service, is_reached, f"--to-tags={split}")

    def tag(self, service: str, tag: str, revision: str) -> None:
        """Give the revision a tag, and thereby a separate address."""

        def is_reached(state: Service) -> bool:
            return state.find_tagged(tag).get("revisionName") == revision

        self._update_traffic(service, is_reached, f"--update-tags={tag}={revision}")

    def untag(self, service: str, tag: str) -> None:
        self._update_traffic(service, lambda s: not s.find_tagged(tag), f"--remove-tags={tag}")

    def set_image(self, job: str, image: str) -> None:
        """Set the image for all later executions of the job."""
        self._run("jobs", "update", job, f"--image={image}")

    def list_jobs(self) -> list[str]:
        """Return the names of the jobs that run the image of a release."""
        names = [str(job["metadata"]["name"]) for job in self._read("jobs", "list")]
        return [name for name in names if name.startswith("progress-")]

    def execute(self, job: str, command: str) -> None:
        """Execute the job with this command of `progress`, and wait for its end."""
        self._run(
            "jobs", "execute", job, f"--args={command}", "--wait", timeout_s=self.job_timeout_s
        )

    def fetch_token(self) -> str:
        return run(["auth", "print-access-token", "--quiet"], self.timeout_s).strip()

    def _update_traffic(
        self, service: str, is_reached: Callable[[Service], bool], flag: str
    ) -> None:
        """Update the traffic. If the newest revision does not start, gcloud fails in any case."""
        try:
            self._run("services", "update-traffic", service, flag)
        except Failed:
            if not is_reached(self.describe(service)):
                raise

    def _read(self, *arguments: str) -> Any:
        return json.loads(run(self._complete(*arguments, "--format=json"), self.timeout_s))

    def _run(self, *arguments: str, timeout_s: float | None = None) -> None:
        call = self._complete(*arguments)
        log(f"    $ {shlex.join(['gcloud', *call])}")
        run(call, timeout_s or self.timeout_s)

    def _complete(self, *arguments: str) -> list[str]:
        place = (f"--region={self.region}", f"--project={self.project}", "--quiet")
        return ["run", *arguments, *place]


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
