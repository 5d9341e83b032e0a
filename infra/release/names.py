"""Names of the services, jobs, topic and tags that a release uses. infra/terraform defines them."""

INGEST, PROJECT, QUERY = "progress-ingest", "progress-project", "progress-query"
SERVICES = (QUERY, INGEST, PROJECT)

RELEASE_JOB = "progress-release"
OTHER_JOBS = ("progress-batch", "progress-batch-large", "progress-backup", "progress-rebuild")

COMMANDS = "progress-commands"
GREEN_SUBSCRIPTION = "progress-projection-green-sub"

BLUE, GREEN = "blue", "green"  # tags
