"""Variables that make no sense together, refused before anything is made."""

import re

import pytest

from tests.support.terraform import Environments

pytestmark = pytest.mark.timeout(600)  # whoever is first waits for all that Terraform does

NIGHT = '{{ time_zone = "UTC", evening = "0 22 * * *", morning = "0 6 * * *", least = {} }}'


def size(**changed: str) -> str:
    """The three sizes, of which ingest's is changed."""
    usual = {"cpu": '"1"', "memory": '"1Gi"', "at_once": "9", "least": "1", "most": "2"}

    def one(size: dict[str, str]) -> str:
        return "{ " + ", ".join(f"{name} = {value}" for name, value in size.items()) + " }"

    return f"{{ ingest = {one(usual | changed)}, project = {one(usual)}, query = {one(usual)} }}"


POOLER = '{ host = "ep-x-pooler.aws.neon.tech", database = "p", owner = "o" }'


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (
            {
                "cloud_sql_version": "POSTGRES_14", "database_being_moved_to": "neon",
                "domain": "dev.example.com", "redis": "memcached",
            },
            (),
        ),
        ({"neon": POOLER}, ()),
        (
            {"database_being_moved_to": "cloud_sql", "database_left": "cloud_sql"},
            ("database_being_moved_to",),
        ),
        ({"database": "mysql"}, ()),
        ({"neon": "null"}, ()),
        (
            {
                "night": NIGHT.format("{ quiry = 0 }"),
                "project_id": "P",
                "password_version": "0", "cloud_sql_disk_limit_gb": "9",
            },
            (),
        ),
        ({"night": NIGHT.format("{ query = 3 }")}, ()),
        ({"fixed_egress_address": "true"}, ()),
        (
            {
                "fixed_egress_address": "true", "functions": size(least="1"),
                "night": NIGHT.format("{ query = 0 }"),
            },
            ("functions", "night"),
        ),
        ({"functions": size(cpu='"3"')}, ()),
        ({"functions": size(memory='"1GB"')}, ()),
        ({"functions": size(at_once="0")}, ()),
        ({"functions": size(least="3", most="2")}, ()),
        ({"functions": size(most="0")}, ()),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    environments: Environments, wrong: dict[str, str], right: tuple[str, ...]
) -> None:
    given = [f"-var={name}={value}" for name, value in wrong.items()]
    with pytest.raises(AssertionError) as refused:
        environments.root().planned("dev", *given, name="refused")
    said = str(refused.value)
    assert "Invalid value for variable" in said
    found = set(re.findall(r'variable "(\w+)" \{', said))
    assert found == wrong.keys() - {*right}
