"""Run `terraform test` in infra/terraform.

Its tests mock the providers, so they need no cloud. They use the offline provider if it is
installed, and otherwise the registry's provider.
"""

import pytest

from tests.support.terraform import Root


@pytest.mark.exhaustive
def test_each_switch_changes_the_plan(root: Root) -> None:
    output = root.run("test")
    assert " 0 failed" in output
    assert "run.tftest.hcl... pass" in output
