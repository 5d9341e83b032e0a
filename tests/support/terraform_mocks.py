"""Deploy with mocks of Google's provider, which `terraform test` makes from the provider's schema.

This needs the registry's provider, but no cloud and no credentials. In contrast to the offline
provider, it returns neither the configuration nor a state from which Terraform can plan.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.terraform_state import Values, assign_values, to_state

_VARIABLE = re.compile(r'^variable "(\w+)" \{$((?:\n(?!\}).*)*)', re.MULTILINE)
_SECRET = re.compile(r"^ +(?:ephemeral|sensitive) += true", re.MULTILINE)
_EPHEMERAL = re.compile(r"^ +ephemeral += true", re.MULTILINE)
_NAMES = ("name", "dataset_id")
_MOCKS = """
mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "100000000000" }
  }
}
"""


def deploy(
    folder: Path, run: Callable[..., str], options: Sequence[str]
) -> tuple[Values, Values, str]:
    """Plan, apply and plan again; return the plan, the state and what the second plan changes."""
    text = "\n".join(_read_unprotected(file) for file in folder.glob("*.tf"))
    bodies = dict(_VARIABLE.findall(text))
    names = [name for name, body in bodies.items() if not _SECRET.search(body)]
    # `terraform test` rejects an apply in which an ephemeral variable has no value, or null.
    given = [f'  {name} = "given"' for name, body in bodies.items() if _EPHEMERAL.search(body)]
    file = folder / "tests" / "mocks.tftest.hcl"
    file.parent.mkdir(exist_ok=True)

    def test(*commands: str, overrides: str = "") -> list[Values]:
        runs = [f'run "_{n}" {{\n  command = {command}\n}}' for n, command in enumerate(commands)]
        parts = [_MOCKS, "variables {", *given, "}", overrides, *runs]
        file.write_text("\n".join(parts), encoding="utf-8")
        output = run("test", f"-filter=tests/{file.name}", "-json", "-verbose", *options)
        messages = [json.loads(line) for line in output.splitlines()]
        kinds = {"test_plan", "test_state"}
        return [message[message["type"]] for message in messages if message["type"] in kinds]

    expression = f"jsonencode({{{', '.join(f'{name} = var.{name}' for name in names)}}})"
    variables = json.loads(json.loads(run("console", *options, text=expression)))
    (first,) = test("plan")
    resources = [
        {**change, "values": change["change"]["after"]} for change in first["resource_changes"]
    ]
    plan: Values = {
        "variables": {name: {"value": value} for name, value in variables.items()},
        "planned_values": {"root_module": {"resources": resources}},
    }
    applied, second = test("apply", "plan", overrides=_override(plan))
    changes = [
        change["address"]
        for change in second["resource_changes"]
        if change["change"]["actions"] not in (["no-op"], ["read"])
    ]
    state = to_state(applied["root_module"]["resources"]) | {"outputs": applied["outputs"]}
    return plan, state, "\n".join(changes)


def _read_unprotected(file: Path) -> str:
    """Return the file, without the protection that `terraform test` respects before 1.14."""
    text = file.read_text(encoding="utf-8")
    if "prevent_destroy = true" in text:
        text = text.replace("prevent_destroy = true", "prevent_destroy = false")
        file.write_text(text, encoding="utf-8")
    return text


def _override(plan: Values) -> str:
    """Return blocks that replace the mocks' random values by those that Google would assign."""
    project = plan["variables"].get("project_id", {}).get("value")  # infra/bootstrap has none
    assigned = {resource["address"]: values for resource, values in assign_values(plan)}
    blocks = []
    for resource in plan["planned_values"]["root_module"]["resources"]:
        given, unknown = resource["values"], resource["change"]["after_unknown"]
        name = next((given[key] for key in _NAMES if given.get(key)), resource["name"])
        usual = {
            "id": f"projects/{project}/{resource['type']}/{name}",
            "name": name,
            "project": project,
        }
        values = {key: usual[key] for key in usual if unknown.get(key)}
        values |= assigned.get(resource["address"], {})
        # Of a block that the configuration contains, a mock takes only the computed fields.
        values |= {key: values[key][0] for key in values if given.get(key)}
        if values:
            blocks += [f"override_resource {{\n  target = {resource['address']}"]
            blocks += [f"  values = {json.dumps(values)}\n}}"]
    return "\n".join(blocks)
