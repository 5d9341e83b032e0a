"""Functions that read Cloud Run services and jobs from Terraform's resources."""

from tests.support.terraform_state import Resources, Values


def template(service: Values) -> Values:
    return only(service["template"])


def container(service: Values) -> Values:
    inside = template(service)
    return only(inside.get("containers") or only(inside["template"])["containers"])


def settings(service: Values) -> dict[str, str]:
    return {
        variable["name"]: only(only(variable["value_source"])["secret_key_ref"])["secret"]
        if variable["value_source"]
        else variable["value"]
        for variable in container(service)["env"]
    }


def only(values: list[Values]) -> Values:
    (value,) = values
    return value


def templates(resources: Resources) -> dict[str, Values]:
    services = resources.of("google_cloud_run_v2_service", "function")
    jobs = resources.of("google_cloud_run_v2_job", "job")
    return {name: service["template"][0] for name, service in services.items()} | {
        name: job["template"][0]["template"][0] for name, job in jobs.items()
    }


def plain_settings(resources: Resources, part: str) -> dict[str, str]:
    variables = templates(resources)[part]["containers"][0]["env"]
    return {one["name"]: one["value"] for one in variables if not one["value_source"]}


def secret_ids(resources: Resources, part: str) -> dict[str, str]:
    variables = templates(resources)[part]["containers"][0]["env"]
    secrets = {v["name"]: v["value_source"][0] for v in variables if v["value_source"]}
    references = {name: only(secret["secret_key_ref"]) for name, secret in secrets.items()}
    assert {reference["version"] for reference in references.values()} <= {"latest"}
    return {name: reference["secret"] for name, reference in references.items()}


def secret_value(resources: Resources, part: str, setting: str) -> str:
    secret = secret_ids(resources, part)[setting]
    if secret in resources.passwords:
        return resources.passwords[secret]
    versions = resources.of("google_secret_manager_secret_version", "this")
    value: str = versions[secret]["secret_data"]
    return value
