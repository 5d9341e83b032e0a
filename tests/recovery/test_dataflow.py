"""A Dataflow job rebuilds from the archive; if a job fails, the reason is reported."""

import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from progress import files, settings
from progress.adapters import retries
from progress.adapters.dataflow import Dataflow
from progress.cli import rebuilds
from progress.errors import DataflowUnavailable, ProgressError
from progress.projections import replacement
from progress.recovery import beam, beam_on_dataflow, buckets
from progress.recovery.archive_loads import Rebuild
from progress.recovery.archive_rebuild import Engine, Source
from tests.conftest import Store
from tests.support import cli, http_servers, model_rows
from tests.support.archive_rebuilds import Archived

PROJECT, REGION = "p", "europe-west1"
JOBS = f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"
LAUNCH = f"/v1b3/projects/{PROJECT}/locations/{REGION}/flexTemplates:launch"


@dataclass
class Fake:
    """The launched jobs, and the states and failures that the next requests return.

    `work` is called when a request first returns the state RUNNING.
    """

    launched: list[dict[str, Any]] = field(default_factory=list)  # launch parameters
    states: list[str] = field(
        default_factory=lambda: ["QUEUED", "PENDING", "RUNNING", "RUNNING", "DONE"]
    )
    work: Callable[[dict[str, str]], None] = lambda _: None  # Argument: the template's parameters.
    failures: list[tuple[int, str]] = field(default_factory=list)  # HTTP statuses and messages.
    lost_responses: int = 0  # How many of the next launches succeed but get a 503.
    cut_responses: int = 0  # How many of the next responses have a truncated body.
    messages: list[str] = field(default_factory=list)  # Errors of the job.
    requests: list[str] = field(default_factory=list)

    def launch(self, parameters: dict[str, Any]) -> tuple[int, object]:
        if any(job["jobName"] == parameters["jobName"] for job in self.launched):
            message = f"There is already an active job named {parameters['jobName']}."
            return 409, _error(409, message)
        self.launched.append(parameters)
        if self.lost_responses:
            self.lost_responses -= 1
            return 503, _error(503, "The service is currently unavailable.")
        return 200, {"job": self._describe(len(self.launched))}

    def list_jobs(self, query: dict[str, list[str]]) -> dict[str, object]:
        jobs = [self._describe(number) for number in range(1, len(self.launched) + 1)]
        return {"jobs": [job for job in jobs if job["name"] == query["name"][0]]}

    def read(self, number: int) -> dict[str, str]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "RUNNING":
            work, self.work = self.work, lambda _: None
            work(self.launched[number - 1]["parameters"])
        return self._describe(number) | {"currentState": f"JOB_STATE_{state}"}

    def list_messages(self, query: dict[str, list[str]]) -> dict[str, object]:
        assert query["minimumImportance"] == ["JOB_MESSAGE_ERROR"]
        number = int(query.get("pageToken", ["0"])[0])  # one message per page
        page: dict[str, object] = {}
        if number < len(self.messages):
            page["jobMessages"] = [{"id": str(number), "messageText": self.messages[number]}]
        if number + 1 < len(self.messages):
            page["nextPageToken"] = str(number + 1)
        return page

    def _describe(self, number: int) -> dict[str, str]:
        return {
            "id": f"job-{number}",
            "name": self.launched[number - 1]["jobName"],
            "createTime": f"2026-11-20T01:00:{number:02}Z",
            "currentState": f"JOB_STATE_{self.states[0]}",
        }


def _error(code: int, message: str) -> dict[str, object]:
    return {"error": {"code": code, "message": message}}


class _Handler(http_servers.Handler):
    fake: Fake

    def do_POST(self) -> None:  # noqa: N802 - the name in http.server
        body = json.loads(self.read_body())
        assert self.path == LAUNCH
        if not self._fail():
            self._respond(*self.fake.launch(body["launchParameter"]))

    def do_GET(self) -> None:  # noqa: N802 - the name in http.server
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        match = re.fullmatch(rf"{JOBS}(?:/job-(\d+)(/messages)?)?", parts.path)
        assert match, self.path
        if self._fail():
            return
        if match[1] is None:
            self._respond(200, self.fake.list_jobs(query))
        elif match[2]:
            self._respond(200, self.fake.list_messages(query))
        else:
            self._respond(200, self.fake.read(int(match[1])))

    def _fail(self) -> bool:
        """Respond with the next failure, if there is one."""
        self.fake.requests.append(f"{self.command} {self.path}")
        if not self.fake.failures:
            return False
        code, message = self.fake.failures.pop(0)
        self._respond(code, _error(code, message))
        return True

    def _respond(self, status: int, body: object) -> None:
        cut = -1 if self.fake.cut_responses else None
        self.fake.cut_responses -= bool(cut)
        self.respond(status, json.dumps(body).encode(), cut=cut)


@pytest.fixture
def dataflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A fake Dataflow, which the settings point to."""
    fake = Fake()
    with http_servers.serve(type("Handler", (_Handler,), {"fake": fake})) as address:
        monkeypatch.setenv("DATAFLOW_EMULATOR_HOST", address)
        settings.current.cache_clear()
        yield fake
    settings.current.cache_clear()


METADATA = files.ROOT / "infra/beam/metadata.json"
ACCOUNT = "progress-rebuild@p.iam.gserviceaccount.com"
DATAFLOW = {
    "PUBSUB_PROJECT_ID": "p",
    "DATAFLOW_TEMPLATE": "gs://p-progress-templates/beam-rebuild.json",
    "DATAFLOW_REGION": "europe-west1",
    "DATAFLOW_SUBNETWORK": "regions/europe-west1/subnetworks/progress",
    "DATAFLOW_WORKER_ACCOUNT": ACCOUNT,
}
CLOUD_SQL = {"INSTANCE_CONNECTION_NAME": "p:r:i", "DB_NAME": "progress", "DB_IAM_USER": "operator"}
pytestmark = pytest.mark.timeout(300)  # a rebuild is slow on a busy machine

QUOTA = (429, "Quota exceeded for quota metric 'Create requests'")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(beam_on_dataflow, "_POLL_INTERVAL_S", 0.001)


@pytest.fixture
def announced() -> list[str]:
    return []


@pytest.fixture
def engine(announced: list[str]) -> Engine:
    return open_engine(announced)


def open_engine(announced: list[str], **more: str) -> Engine:
    return functools.partial(
        beam_on_dataflow.run,
        current=settings.read(DATAFLOW | CLOUD_SQL | more),
        workers=3,
        announce=announced.append,
    )


def load_buckets(url: str, parameters: dict[str, str]) -> None:
    """Load the buckets as Dataflow's workers do, but into the test's database."""
    for bucket in range(int(parameters["buckets"])):
        buckets.process(parameters["archive"], url, bucket, int(parameters["version"]))


@pytest.mark.exhaustive
def test_the_engine_launches_a_job_that_loads_the_buckets(
    archived: Archived, dataflow: Fake, engine: Engine
) -> None:
    dataflow.work = functools.partial(load_buckets, archived.store.url)
    dataflow.failures, dataflow.lost_responses = [(503, "unavailable"), QUOTA], 1
    with archived.unchanged():
        events = archived.run(engine)
    assert events == model_rows.read_value(archived.connection, "head")
    (job,) = dataflow.launched  # one job, although the launch was sent four times
    version = job["parameters"]["version"]
    assert job == {
        "jobName": f"progress-rebuild-{version}",
        "containerSpecGcsPath": DATAFLOW["DATAFLOW_TEMPLATE"],
        "parameters": {
            "archive": str(archived.folder),
            "buckets": "16",
            "version": version,
            "schema": replacement.building_name(),
            "instance_connection_name": "p:r:i",
            "db_name": "progress",
            "db_iam_user": "progress-rebuild@p.iam",
        },
        "environment": {
            "numWorkers": 3,
            "maxWorkers": 8,
            "subnetwork": DATAFLOW["DATAFLOW_SUBNETWORK"],
            "serviceAccountEmail": ACCOUNT,
            "stagingLocation": "gs://p-progress-templates/staging",
            "tempLocation": "gs://p-progress-templates/temp",
        },
    }
    declared = json.loads(METADATA.read_text())["parameters"]
    assert {parameter["name"] for parameter in declared} == job["parameters"].keys()


def load_nothing(engine: Engine, on_loaded: Callable[[], None] = lambda: None) -> None:
    """Run the engine for an invented rebuild, which loads no rows."""
    engine(Source("gs://a", None), Rebuild(7, 16, []), on_loaded)


def test_the_engine_survives_an_outage_of_dataflow_while_the_job_runs(
    dataflow: Fake, engine: Engine, announced: list[str]
) -> None:
    def begin_outage(_: dict[str, str]) -> None:
        dataflow.failures = [(503, "unavailable")] * (2 * retries.ATTEMPTS)

    dataflow.work = begin_outage
    load_nothing(engine)
    assert dataflow.states == ["DONE"]
    (sentence, _) = announced
    assert "console.cloud.google.com/dataflow/jobs/europe-west1/job-1?project=p" in sentence


def test_a_launch_whose_response_is_cut_is_not_repeated(dataflow: Fake, engine: Engine) -> None:
    dataflow.cut_responses = 1
    load_nothing(engine)
    assert len(dataflow.launched) == 1


def test_a_job_that_may_have_been_launched_is_announced(
    dataflow: Fake, engine: Engine, announced: list[str]
) -> None:
    fail_always(dataflow, 503, "unavailable")
    with pytest.raises(DataflowUnavailable):
        load_nothing(engine)
    (sentence,) = announced
    assert "`gcloud dataflow jobs list --filter=name=progress-rebuild-7 --region=" in sentence


@pytest.mark.parametrize("state", ["CANCELLED", "FAILED"])
def test_a_retried_task_does_not_launch_a_second_job(
    dataflow: Fake, announced: list[str], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    execution = {"CLOUD_RUN_EXECUTION": "progress-rebuild-x7k2p"}
    end(dataflow, state)
    with pytest.raises(ProgressError, match="job-1"):
        load_nothing(open_engine(announced, **execution))
    assert "executions cancel progress-rebuild-x7k2p --region=europe-west1" in announced[1]
    for name, value in (CLOUD_SQL | {"ARCHIVE_BUCKET": "a"}).items():
        monkeypatch.setenv(name, value)
    settings.current.cache_clear()
    for attempt in ("1", "2"):
        again = settings.read(
            DATAFLOW | CLOUD_SQL | execution | {"CLOUD_RUN_TASK_ATTEMPT": attempt}
        )
        with pytest.raises(ProgressError, match=f"job-1 (was )?{state.lower()}"):
            rebuilds._choose_beam(again, 1)
    dataflow.states = ["RUNNING"]  # the first attempt was killed, and its job still runs
    rebuilds._choose_beam(again, 1)
    assert [job["jobName"] for job in dataflow.launched] == ["progress-rebuild-x7k2p-0"]


def fail_always(dataflow: Fake, status: int, message: str) -> None:
    dataflow.failures = [(status, message)] * 100


def end(dataflow: Fake, state: str, *messages: str) -> None:
    dataflow.states, dataflow.messages = ["PENDING", state], [*messages]


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (
            lambda fake: fail_always(fake, 403, "Permission dataflow.jobs.create denied"),
            r"jobs.create denied; the caller needs roles/dataflow.developer",
        ),
        (lambda fake: fail_always(fake, 404, "Unable to open template"), "check DATAFLOW_TEMPLATE"),
        (lambda fake: fail_always(fake, *QUOTA), "Quota exceeded"),
        (lambda fake: fail_always(fake, 503, "unavailable"), "HTTP 503"),
        (
            lambda fake: end(fake, "FAILED", "Startup of the worker pool failed", "no machine"),
            "job-1 failed: no machine; its log is at https://console",
        ),
        (lambda fake: end(fake, "CANCELLED"), "job-1 was cancelled"),
    ],
    ids=["403", "404", "quota", "503", "failed", "cancelled"],
)
def test_the_engine_reports_the_reason_that_dataflow_gives(
    dataflow: Fake, engine: Engine, prepare: Callable[[Fake], None], reason: str
) -> None:
    prepare(dataflow)
    with pytest.raises(ProgressError, match=reason):
        load_nothing(engine)


def test_a_failed_job_is_reported_even_if_its_messages_cannot_be_read(
    dataflow: Fake, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> list[str]:
        raise DataflowUnavailable("HTTP 503")

    monkeypatch.setattr(Dataflow, "read_errors", deny)
    end(dataflow, "FAILED")
    with pytest.raises(ProgressError, match="job-1 failed: it ended in the state JOB_STATE_FAILED"):
        load_nothing(engine)


def test_an_interrupted_rebuild_names_the_command_that_cancels_the_job(
    dataflow: Fake, engine: Engine, announced: list[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_nothing(engine, interrupt)
    assert "`gcloud dataflow jobs cancel job-1 --region=europe-west1 --project=p`" in announced[-1]


def test_an_outage_that_does_not_end_is_reported(
    dataflow: Fake, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beam_on_dataflow, "_OUTAGE_TIMEOUT_S", 0)

    def begin_outage() -> None:
        fail_always(dataflow, 503, "unavailable")

    with pytest.raises(DataflowUnavailable, match="HTTP 503"):
        load_nothing(engine, begin_outage)
    assert dataflow.requests[0] == f"POST {LAUNCH}"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"DATAFLOW_SUBNETWORK": ""}, "DATAFLOW_SUBNETWORK is not set"),
        ({"DATABASE_URL": "postgresql://h/d"}, "instead of DATABASE_URL"),
        ({"ARCHIVE_BUCKET": ""}, "set ARCHIVE_BUCKET"),
    ],
)
def test_settings_that_the_workers_of_dataflow_cannot_use_are_rejected(
    changed: dict[str, str], words: str
) -> None:
    current = settings.read(DATAFLOW | CLOUD_SQL | {"ARCHIVE_BUCKET": "a"} | changed)
    archive = current.archive_bucket and f"gs://{current.archive_bucket}"
    with pytest.raises(ProgressError, match=words):
        beam_on_dataflow.check_settings(
            Source(archive or "a folder", current.database_url), current
        )


def test_a_rebuild_without_beam_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(beam, "_ENVIRONMENT", tmp_path)
    with pytest.raises(ProgressError, match="run `make beam`"):
        beam.check_environment()


def test_the_last_output_of_a_killed_pipeline_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(beam, "_ENVIRONMENT", tmp_path)
    monkeypatch.setattr(beam, "_POLL_INTERVAL_S", 0.01)
    (tmp_path / "bin").mkdir()
    (tmp_path / ".packages").touch()
    program = tmp_path / "bin/python"
    program.write_text("#!/bin/sh\necho out of memory >&2\nkill -9 $$\n")
    program.chmod(0o755)
    with pytest.raises(ProgressError, match=r"in each of 3 attempts.*: out of memory"):
        beam.run(Source("a", None), Rebuild(7, 16, []), lambda: None, workers=1)
    assert capsys.readouterr().out.count("was killed: out of memory") == 3


def test_the_beam_engine_uses_dataflow_if_a_template_is_set(store: Store) -> None:
    done = cli.progress(store.url, "rebuild", "--from-archive", "--engine", "beam", **DATAFLOW)
    cli.expect_failure(done, "Dataflow's workers log in to Cloud SQL")
