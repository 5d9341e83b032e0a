"""Validation of single variables and of combinations of variables."""

import pytest

from tests.support.terraform_environments import Environments

pytestmark = pytest.mark.timeout(600)  # the first test waits until Terraform has created the plans

NIGHT = '{{ time_zone = "UTC", evening = "0 22 * * *", morning = "0 6 * * *", min_instances = {} }}'


def size(**changed: str) -> str:
    """Return the sizes of the three functions, with these changes to the size of ingest."""
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


# Invalid combinations of variables, as the names of the rejected and of the valid variables with
# their values in Terraform's language.
CASES: list[tuple[dict[str, str], dict[str, str]]] = [
    (
        {
            "cloud_sql_version": '"POSTGRES_14"', "migration_target": '"neon"',
            "domain": '"dev.example.com"', "redis": '"memcached"',
        },
        {},
    ),
    ({"neon": POOLER}, {}),
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
    ({"fixed_egress_address": "true"}, {}),
    (
        {"fixed_egress_address": "true"},
        {"functions": size(min_instances="1"), "night": NIGHT.format("{ query = 0 }")},
    ),
    ({"functions": size(cpu='"3"')}, {}),
    ({"functions": size(memory='"1GB"')}, {}),
    ({"functions": size(concurrency="0")}, {}),
    ({"functions": size(min_instances="3", max_instances="2")}, {}),
    ({"functions": size(max_instances="0"), "erase_deleted_after_days": "0"}, {}),
]  # fmt: skip


def write_run(number: int, wrong: dict[str, str], right: dict[str, str]) -> str:
    """Return a run of `terraform test` that passes if exactly the `wrong` variables are invalid."""
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


def test_invalid_combinations_of_variables_are_rejected(environments: Environments) -> None:
    """One process checks all cases, because each process reads the provider's schema."""
    root = environments.root()
    (root.folder / "invalid").mkdir()
    runs = [write_run(number, *case) for number, case in enumerate(CASES)]
    (root.folder / "invalid" / "variables.tftest.hcl").write_text("\n".join(runs))
    output = root.run("test", "-test-directory=invalid", "-var-file=environments/dev.tfvars")
    assert f" {len(CASES)} passed, 0 failed" in output
