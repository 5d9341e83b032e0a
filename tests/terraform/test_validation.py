"""Validation of single variables and of combinations of variables."""

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.support.terraform import REPOSITORY, Root

_VARIABLE = re.compile(r'^variable "\w+" \{\n.*?^\}\n', re.MULTILINE | re.DOTALL)
_LOCALS = re.compile(r"^locals \{\n(.*?)^\}\n", re.MULTILINE | re.DOTALL)
_LOCAL = re.compile(r"^(?=  \w+ += )", re.MULTILINE)
_REFERENCE = re.compile(r"\blocal\.(\w+)")
_KEY = re.compile(r'^    ("[\w-]+") = \{$', re.MULTILINE)


def copy_variables(source: Path, folder: Path) -> Root:
    """Write the variables of a root module to `folder`, with the locals that they use.

    Only the keys of `local.promql_alerts` are copied, because its values refer to resources.
    """
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted(source.glob("*.tf")))
    variables = "\n".join(_VARIABLE.findall(text))
    lines = {
        line.split()[0]: line
        for body in _LOCALS.findall(text)
        for line in _LOCAL.split(body)
        if line.strip()
    }
    if "promql_alerts" in lines:
        keys = ", ".join(_KEY.findall(lines["promql_alerts"]))
        lines["promql_alerts"] = f"  promql_alerts = {{ for name in [{keys}] : name => {{}} }}\n"
    used = dict[str, str]()
    while new := {*_REFERENCE.findall(variables + "".join(used.values()))} - used.keys():
        used |= {name: lines[name] for name in new}
    folder.mkdir(parents=True)
    blocks = f"{variables}\nlocals {{\n{''.join(used.values())}}}\n"
    (folder / "variables.tf").write_text(blocks, encoding="utf-8")
    return Root(folder, f"{source}/environments/{{}}.tfvars", has_providers=False)


NIGHT = '{{ time_zone = "UTC", evening = "0 22 * * *", morning = "0 6 * * *", min_instances = {} }}'


def size(**changed: str) -> str:
    """Return a value of the variable `functions`; `changed` overrides attributes of ingest."""
    usual = {
        "cpu": '"1"',
        "memory": '"1Gi"',
        "concurrency": "9",
        "min_instances": "1",
        "max_instances": "2",
    }

    def one(size: dict[str, str]) -> str:
        return "{ " + ", ".join(f"{name} = {value}" for name, value in size.items()) + " }"

    return f"{{ ingest = {one(usual | changed)}, project = {one(usual)}, query = {one(usual)} }}"


POOLER = '{ host = "ep-x-pooler.aws.neon.tech", database = "p", owner = "o" }'


ONLY_QUERY = f"{{ {size().split('}, ')[-1]}"

# Invalid combinations of variables. Each combination has two parts: the variables that Terraform
# rejects, and the variables that it accepts. The values are written in Terraform's language.
CASES: list[tuple[dict[str, str], dict[str, str]]] = [
    (
        {
            "migration_target": '"neon"',
            "redis": '"memcached"',
        },
        {},
    ),
    ({"neon": POOLER}, {}),
    (
        {"auth": '"google"'},
        {"environment": '"staging"', "alert_emails": '["a@example.com"]', "domain": '"a.example"'},
    ),
    ({"auth": '"firebase"'}, {}),
    ({"auth": '{ jwks = "https://login.example.com/keys" }'}, {}),
    ({"auth": '{ audience = ["progress"] }'}, {}),
    ({"former_database": '"cloud_sql"'}, {"migration_target": '"cloud_sql"'}),
    ({"database": '"mysql"'}, {}),
    ({"neon": "null"}, {}),
    (
        {
            "night": NIGHT.format("{ quiry = 0 }"), "project_id": '"P"',
            "password_version": "0", "cloud_sql_disk_limit_gb": "9",
        },
        {},
    ),
    ({"night": NIGHT.format("{ query = 3 }")}, {}),
    ({"functions": ONLY_QUERY}, {}),
    ({"functions": size(cpu='"3"')}, {}),
    ({"functions": size(memory='"1GB"')}, {}),
    ({"functions": size(concurrency="0")}, {}),
    ({"functions": size(min_instances="3", max_instances="2")}, {}),
    ({"functions": size(max_instances="0"), "erase_deleted_after_days": "0"}, {}),
    ({"retention_months": "241"}, {}),
    ({"retention_months": "12"}, {"publish_events": '"off"'}),
    (
        {"domain": "null"},
        {"environment": '"prod"', "alert_emails": '["a@example.com"]', "auth": "{}"},
    ),
    ({"archive_buckets": "32", "database_pool": "{ size = 0 }"}, {}),
    (
        {
            "publishers": '{ learning = ["group:a@example.com"] }', "alerts": '["error"]',
            "event_posters": '["allUsers"]', "smoke_key": '"green"',
            "neon": '{ host = "postgresql://o:p@ep-x.neon.tech/d" }',
        },
        {},
    ),
    ({"publishers": '{ "user-events" = ["allUsers"] }', "smoke_key": f'"{"g" * 31}"'}, {}),
    ({"foreign_topics": '{ users = "projects/p/topics/t" }', "smoke_key": f'"{"g" * 32} "'}, {}),
    ({"foreign_topics": '{ "user-events" = "user-events" }'}, {}),
    (
        {"foreign_topics": '{ "user-events" = "projects/p/topics/t" }'},
        {"publishers": '{ "user-events" = ["group:a@example.com"] }'},
    ),
    ({"alert_emails": "[]"}, {"environment": '"staging"', "auth": "{}"}),
]  # fmt: skip


def write_run(number: int, wrong: dict[str, str], right: dict[str, str]) -> str:
    """Return a `run` block for `terraform test`.

    The test passes if Terraform rejects the `wrong` variables and no others.
    """
    values = "\n".join(f"    {name} = {value}" for name, value in (wrong | right).items())
    failures = ", ".join(f"var.{name}" for name in wrong)
    return f"""run "case_{number}" {{
  command = plan
  variables {{
{values}
  }}
  expect_failures = [{failures}]
}}
"""


def test_invalid_combinations_of_variables_are_rejected(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if not shutil.which("terraform"):
        skip_without(request, "terraform")
    variables = copy_variables(REPOSITORY / "infra" / "terraform", tmp_path / "terraform")
    runs = [write_run(number, *case) for number, case in enumerate(CASES)]
    (variables.folder / "cases.tftest.hcl").write_text("\n".join(runs))
    output = variables.run("test", f"-var-file={variables.variables.format('dev')}")
    assert f" {len(CASES)} passed, 0 failed" in output
