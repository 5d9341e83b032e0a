"""The complete list of the roles that Terraform grants, so that no new grant goes unnoticed."""

from collections import defaultdict

import pytest

from tests.support.cloud_run import parts, secret_ids
from tests.support.terraform_environments import Environments
from tests.support.terraform_state import Deployment, Resources, Values

# The attributes that can name a grant's resource. Without any of them, a grant is on the project.
_PLACES = (
    *("topic", "subscription", "bucket", "secret_id", "service_account_id", "repository"),
    *("table_id", "name"),
)

_ACCESSOR = "secretmanager.secretAccessor"

# The short names of the buckets, keyed by the bucket's name without the project's id.
_BUCKETS = {f"progress-{name}": name for name in ("archive", "backup", "exports")}

EVERYWHERE = {
    "ingest": {"pubsub.publisher progress-commands"},
    "project": {
        *("pubsub.publisher progress-commands", "pubsub.publisher progress-events"),
        "storage.objectUser archive",
        *("storage.objectUser exports", "storage.legacyBucketReader backup"),
    },
    "query": {
        *("pubsub.publisher progress-commands", "storage.objectViewer exports"),
        *("progressSigning progress-query", "progressMeasurements project"),
    },
    "batch": {f"pubsub.publisher {topic}" for topic in ("progress-commands", "progress-events")},
    "release": {
        *("pubsub.publisher progress-commands", "pubsub.publisher progress-events"),
        *("storage.objectViewer backup", "progressMeasurements project"),
        *("storage.objectUser archive", "storage.objectUser exports"),
        "storage.legacyBucketReader backup",
    },
    "backup": {"storage.objectUser backup"},
    "rebuild": {
        *("storage.objectViewer archive", "storage.objectUser archive"),
        "storage.legacyBucketReader archive",
    },
    "push": {"run.invoker progress-ingest", "run.invoker progress-project"},
    "scheduler": {"run.invoker progress-batch", "run.invoker progress-batch-large"},
    # Pub/Sub's service agent.
    "gcp-sa-pubsub": {
        *("bigquery.dataEditor messages", "iam.serviceAccountOpenIdTokenCreator progress-push"),
        *(
            f"pubsub.{role} {name}{suffix}"
            for name in (
                *("learning-events-ingest-sub", "algorithm-events-ingest-sub"),
                *("vocabulary-events-ingest-sub", "user-events-ingest-sub"),
                *("progress-projection-sub", "progress-analytics-sub-learning-events"),
                "progress-analytics-sub-algorithm-events",
                "progress-analytics-sub-vocabulary-events",
            )
            for role, suffix in (("subscriber", ""), ("publisher", "-dead-letter"))
        ),
    },
}

# The accounts of the services that publish events, which the tfvars of staging and prod name.
PUBLISHERS = {
    "learning": {"pubsub.publisher learning-events"},
    "algorithm": {"pubsub.publisher algorithm-events"},
    "vocabulary": {"pubsub.publisher vocabulary-events"},
    "users": {"pubsub.publisher user-events"},
}

# Accounts that send traces and metrics to Google.
EXPORTERS = {
    name: {"telemetry.writer project", "serviceusage.serviceUsageConsumer project"}
    for name in ("ingest", "project", "query", "batch", "release", "backup", "rebuild")
}


NEON = {
    "backup-scheduler": {"run.invoker progress-backup"},
    "batch": {"pubsub.subscriber progress-batch-sub"},  # because batch_on_demand is set
}

PROD = {
    **PUBLISHERS,
    "backup-scheduler": {"progressBackups project"},
    "pipeline": {
        *("run.developer project", "monitoring.viewer project"),
        *("run.jobsExecutorWithOverrides progress-release", "artifactregistry.reader images"),
        *(
            f"iam.serviceAccountUser progress-{name}"
            for name in ("ingest", "project", "query", "batch", "release", "backup", "rebuild")
        ),
    },
    **{
        name: {"cloudsql.client project", "cloudsql.instanceUser project"}
        for name in ("ingest", "project", "query", "batch", "backup", "rebuild")
    },
    "scheduler": {
        f"{right} progress-query" for right in ("progressScaling", "iam.serviceAccountUser")
    },
}


@pytest.mark.parametrize(
    ("environment", "further"),
    [
        *(("dev", NEON), ("prod", PROD)),
        pytest.param("staging", PROD, marks=pytest.mark.exhaustive),
    ],
)
def test_each_account_has_exactly_the_roles_that_it_needs(
    environments: Environments, environment: str, further: dict[str, set[str]]
) -> None:
    """An account reads just the secrets that its functions and jobs use."""
    resources = environments[environment].applied
    wanted: dict[str, set[str]] = defaultdict(set)
    read: set[str] = set()
    for who, roles in (*EVERYWHERE.items(), *EXPORTERS.items(), *further.items()):
        wanted[who] |= roles
    for part in parts(resources):
        secrets = secret_ids(resources, part).values()
        wanted[part.removesuffix("-large")] |= {f"{_ACCESSOR} {name}" for name in secrets}
        read |= {*secrets}
    assert list_roles(resources) == wanted
    assert read == resources.of("google_secret_manager_secret", "this").keys()


def test_a_subscriber_may_pull_from_its_subscription(moving: Deployment) -> None:
    roles = list_roles(moving.applied)
    assert roles["rewards"] == {"pubsub.subscriber rewards-sub"}
    pulled = {"pubsub.subscriber rewards-sub", "pubsub.publisher rewards-sub-dead-letter"}
    assert pulled <= roles["gcp-sa-pubsub"]


def list_roles(resources: Resources) -> dict[str, set[str]]:
    roles = defaultdict(set)
    for values in list_grants(resources):
        on = next((values[place] for place in _PLACES if values.get(place)), "project")
        roles[_short(values["member"])].add(f"{_short(values['role'])} {_short_resource(on)}")
    return dict(roles)


def list_grants(resources: Resources) -> list[Values]:
    return [grant for address, grant in resources.items() if "_iam_member." in address]


def _short(name: str) -> str:
    if "gcp-sa-pubsub" in name:
        return "gcp-sa-pubsub"
    kind, _, rest = name.partition(":")
    return (
        rest.partition("@")[0].removeprefix("progress-")
        if kind == "serviceAccount"
        else name.rpartition("roles/")[2]
    )


def _short_resource(name: str) -> str:
    if name == "progress":  # the repository of Artifact Registry
        return "images"
    last = name.rpartition("/")[2].partition("@")[0]
    return _BUCKETS.get(last.partition("-")[2].partition("-")[2], last)


def test_iam_grants_never_replace_other_grants(deployment: Deployment) -> None:
    """An IAM policy or binding would remove other grants, such as those of Google's agents."""
    kinds = {resource["type"] for resource in deployment.state["resources"]}
    assert not [kind for kind in kinds if kind.endswith(("_iam_policy", "_iam_binding"))]


def test_only_custom_roles_that_bootstrap_created_are_granted(
    deployments: dict[str, Deployment], resources: Resources
) -> None:
    """A role that infra/terraform created could not be created again for weeks after a destroy."""
    created = {role["name"] for role in resources.of("google_project_iam_custom_role").values()}
    for deployment in deployments.values():
        granted = {grant["role"] for grant in list_grants(deployment.applied)}
        assert {role for role in granted if not role.startswith("roles/")} <= created
        assert not deployment.applied.of("google_project_iam_custom_role")
