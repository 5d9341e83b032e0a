"""How the tests are dealt out where several processes run them (`pytest -n`)."""

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# Slow to start, therefore for one process alone: its files stay together.
_SHARED = {
    "the demo's stack": ("test_page_", "test_signals", "test_alerts_seen"),
    "the plans": ("test_terraform_",),
}

# What takes long, by about how many seconds: what is begun last is to be short, lest one process
# works on while the others have nothing left to do. All else goes by its number of tests.
_LONG = {
    130: ("the plans", "the demo's stack"),
    60: ("test_faults", "test_stack", "test_release_failures"),
    40: ("test_as_of", "test_release_deaths", "test_invariant", "test_mutants"),
    20: (
        *("test_recovery", "test_pubsub_contract", "test_demo", "test_telemetry_stack"),
        *("test_readmodels_oracle", "test_recovery_letters", "test_recovery_moving"),
        *("test_faults_operations", "test_changes_subscription", "test_contract"),
    ),
}
_SECONDS = {scope: seconds for seconds, scopes in _LONG.items() for scope in scopes}
_A_TEST = 0.2  # seconds


class ByFile(LoadFileScheduling):  # type: ignore[misc] # it ships no types
    """Each file's tests in one process, in their order; what the files share is made once."""

    def _split_scope(self, nodeid: str) -> str:
        name = str(super()._split_scope(nodeid)).rpartition("/")[2].removesuffix(".py")
        return next((what for what, names in _SHARED.items() if name.startswith(names)), name)

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = max(self.workqueue, key=self._seconds)
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)

    def _seconds(self, scope: str) -> float:
        return max(_SECONDS.get(scope, 0), _A_TEST * len(self.workqueue[scope]))
