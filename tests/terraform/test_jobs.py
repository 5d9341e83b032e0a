"""The jobs of Cloud Run: image, time limits, retries, memory, tasks."""

from progress.recovery import bucket_folds
from tests.support.cloud_run import container, only, settings, template
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment


def test_the_jobs_run_the_image_of_the_project_function(deployment: Deployment) -> None:
    project = deployment.applied.of("google_cloud_run_v2_service", "function")["project"]
    for job in deployment.applied.of("google_cloud_run_v2_job", "job").values():
        inside = container(job)
        assert inside["image"] == container(project)["image"]
        assert inside["command"][:3] == ["/cnb/lifecycle/launcher", "--", "python"]
        assert settings(job)["PYTHONPATH"] == "/workspace"


def test_a_batch_run_ends_before_the_next_one_starts(deployment: Deployment) -> None:
    jobs = deployment.applied.of("google_cloud_run_v2_job", "job")
    times = {name: only(template(job)["template"])["timeout"] for name, job in jobs.items()}
    assert int(times["batch"].removesuffix("s")) < 300
    assert int(times["release"].removesuffix("s")) >= 3_600


def test_a_failed_job_is_retried(deployment: Deployment) -> None:
    jobs = deployment.applied.of("google_cloud_run_v2_job", "job")
    tries = {name: only(template(job)["template"])["max_retries"] for name, job in jobs.items()}
    assert tries == {"batch": 1, "batch-large": 1, "release": 1, "backup": 3, "rebuild": 3}


def test_the_batch_job_erases_deleted_learners_only_in_production(
    environments: Environments,
) -> None:
    for name, environment in environments.items():
        for job, planned in environment.applied.of("google_cloud_run_v2_job", "job").items():
            is_on = name == "prod" and job.startswith("batch")
            assert settings(planned).get("ERASE_DELETED_AFTER_DAYS") == ("30" if is_on else None)


def test_the_large_batch_job_has_more_memory_and_tasks(deployment: Deployment) -> None:
    jobs = deployment.applied.of("google_cloud_run_v2_job", "job")
    small, large = jobs["batch"], jobs["batch-large"]
    assert container(large)["command"] == container(small)["command"]
    assert template(large)["task_count"] > template(small)["task_count"]
    assert template(large)["parallelism"] == template(large)["task_count"]
    memory = [only(container(job)["resources"])["limits"]["memory"] for job in (small, large)]
    assert memory == ["1Gi", "4Gi"]
    limits = only(container(jobs["release"])["resources"])["limits"]
    # building read models needs more memory than a batch run
    assert limits == {
        "cpu": "2",
        "memory": "2Gi",
    }


def test_the_tasks_of_the_rebuild_job_rebuild_from_the_archive(
    deployment: Deployment,
) -> None:
    job = deployment.applied.of("google_cloud_run_v2_job", "job")["rebuild"]
    command = " ".join([*container(job)["command"], *container(job)["args"]])
    assert command.endswith("python -m progress.cli rebuild --from-archive --engine tasks")
    archive = deployment.applied["google_storage_bucket.archive"]["name"]
    assert settings(job)["ARCHIVE_BUCKET"] == archive
    # At most eight tasks load rows into the database at a time; further tasks would only wait.
    assert template(job)["task_count"] == template(job)["parallelism"] == 8
    # A task has no disk. Its memory holds DuckDB's data, and the files and rows of one bucket of
    # learners.
    memory = only(container(job)["resources"])["limits"]["memory"]
    assert int(memory.removesuffix("Gi")) >= 3 * int(bucket_folds._MEMORY.removesuffix("GB"))
    assert int(only(template(job)["template"])["timeout"].removesuffix("s")) >= 21_600
    assert job["name"] not in {
        only(schedule["http_target"])["uri"].rpartition("/")[2].removesuffix(":run")
        for schedule in deployment.applied.of("google_cloud_scheduler_job").values()
    }
