"""What a service or a job of Cloud Run is made of, as Terraform tells it."""

from tests.support.terraform import Resources, Values


def template(service: Values) -> Values:
    return only(service["template"])


def container(service: Values) -> Values:
    """Of a service or a job."""
    inside = template(service)
    return only(inside.get("containers") or only(inside["template"])["containers"])


def said(service: Values) -> dict[str, str]:
    """The environment; of what is a secret, the secret's id."""
    return {
        each["name"]: only(only(each["value_source"])["secret_key_ref"])["secret"]
        if each["value_source"]
        else each["value"]
        for each in container(service)["env"]
    }


def only(several: list[Values]) -> Values:
    (one,) = several
    return one


def containers(made: Resources) -> dict[str, Values]:
    """What each service and each job runs, by its name."""
    services = made.of("google_cloud_run_v2_service", "function")
    jobs = made.of("google_cloud_run_v2_job", "job")
    return {name: each["template"][0] for name, each in services.items()} | {
        name: each["template"][0]["template"][0] for name, each in jobs.items()
    }


def told(made: Resources, part: str) -> dict[str, str]:
    """A part's plain settings."""
    listed = containers(made)[part]["containers"][0]["env"]
    return {each["name"]: each["value"] for each in listed if not each["value_source"]}


def secrets(made: Resources, part: str) -> dict[str, str]:
    """A part's secret settings: the secret's id."""
    listed = containers(made)[part]["containers"][0]["env"]
    return {
        each["name"]: each["value_source"][0]["secret_key_ref"][0]["secret"]
        for each in listed
        if each["value_source"]
    }


def value(made: Resources, part: str, setting: str) -> str:
    """What a part reads in a secret setting."""
    secret = secrets(made, part)[setting]
    if secret in made.passwords:
        return made.passwords[secret]
    found: str = made.of("google_secret_manager_secret_version", "this")[secret]["secret_data"]
    return found
