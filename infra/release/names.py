"""Names of the services, the job and the tags that a release uses. infra/terraform defines them."""

INGEST, PROJECT, QUERY = "progress-ingest", "progress-project", "progress-query"
RELEASE_JOB = "progress-release"
BLUE, GREEN = "blue", "green"  # tags: the revision before the release, and the new one
