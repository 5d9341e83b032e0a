"""How the tests are dealt out where several processes run them (`pytest -n`)."""

from xdist.scheduler import LoadFileScheduling

# Slow to start, therefore for one process alone: its files stay together.
_SHARED = {"the demo's stack": ("test_page_",), "the plans": ("test_terraform_",)}


class ByFile(LoadFileScheduling):  # type: ignore[misc] # it ships no types
    """Each file's tests in one process, in their order; what the files share is made once."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        name = file.rpartition("/")[2]
        return next((what for what, names in _SHARED.items() if name.startswith(names)), file)
