"""The root module's `terraform test` files, which need no cloud and run with any provider."""

from tests.support.terraform import Root


def test_each_switch_changes_the_plan(root: Root) -> None:
    output = root.run("test")
    assert " 0 failed" in output
    assert "run.tftest.hcl... pass" in output
