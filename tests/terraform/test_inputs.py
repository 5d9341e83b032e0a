"""infra/terraform/inputs.md lists the inputs and outputs of the Terraform modules."""

import json
from pathlib import Path

import pytest

from infra.terraform import inputs
from tests.support.terraform_state import Deployment, Values

ROOT_AND_MODULES = [inputs.ROOT, *sorted(inputs.ROOT.glob("modules/*"))]


def test_inputs_md_is_up_to_date() -> None:
    assert inputs.TABLES.read_text() == inputs.render(), "python infra/terraform/inputs.py"


@pytest.mark.parametrize("folder", ROOT_AND_MODULES, ids=lambda folder: folder.name)
def test_every_input_has_a_type_and_every_input_and_output_has_a_description(folder: Path) -> None:
    blocks = inputs.parse_blocks(folder)
    assert [block.name for block in blocks if not block.description] == []
    assert [e.name for e in blocks if e.kind == "variable" and "type" not in e.attributes] == []


def test_a_plan_has_the_inputs_and_outputs_that_inputs_py_finds(deployment: Deployment) -> None:
    root = deployment.configuration["root_module"]
    assert rows(inputs.ROOT) == described(root)
    for name, call in root["module_calls"].items():
        folder = inputs.ROOT / call["source"]
        assert rows(folder) == described(call["module"]), name


def test_types_and_defaults_are_written_on_one_line() -> None:
    (root,) = (block for block in inputs.parse_blocks(inputs.ROOT) if block.name == "github")
    assert "\n" not in root.row()
    assert root.attributes["type"].startswith("object({ repository = string, branch")
    blocks = {block.name: block for block in inputs.parse_blocks(inputs.ROOT)}
    assert json.loads(blocks["alerts"].attributes["default"])[0] == "batch-job"


def rows(folder: Path) -> dict[tuple[str, str], str]:
    return {(block.kind, block.name): block.description for block in inputs.parse_blocks(folder)}


def described(module: Values) -> dict[tuple[str, str], str]:
    """Return the description of each variable and output of a module in a plan."""
    return {
        (kind, name): attributes.get("description", "")
        for kind, several in (("variable", "variables"), ("output", "outputs"))
        for name, attributes in module.get(several, {}).items()
    }
