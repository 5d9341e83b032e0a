"""Functions that read Cloud Run services and jobs from Terraform's resources."""

from tests.support.terraform_state import Resources, Values


def template(service: Values) -> Values:
    return only(service["template"])


def container(service: Values) -> Values:
    inside = template(service)
    return only(inside.get("containers") or only(inside["template"])["containers"])


def only(values: list[Values]) -> Values:
    (value,) = values
    return value


def parts(resources: Resources) -> dict[str, Values]:
    services = resources.of("google_cloud_run_v2_service", "function")
    return services | resources.of("google_cloud_run_v2_job", "job")


def plain_settings(resources: Resources, part: str) -> dict[str, str]:
    variables = container(parts(resources)[part])["env"]
    return {one["name"]: one["value"] for one in variables if not one["value_source"]}


def secret_ids(resources: Resources, part: str) -> dict[str, str]:
    references = {
        one["name"]: only(only(one["value_source"])["secret_key_ref"])
        for one in container(parts(resources)[part])["env"]
        if one["value_source"]
    }
    assert {reference["version"] for reference in references.values()} <= {"latest"}
    return {name: reference["secret"] for name, reference in references.items()}


def secret_value(resources: Resources, part: str, setting: str) -> str:
    secret = secret_ids(resources, part)[setting]
    if secret in resources.passwords:
        return resources.passwords[secret]
    versions = resources.of("google_secret_manager_secret_version", "this")
    value: str = versions[secret]["secret_data"]
    return value
