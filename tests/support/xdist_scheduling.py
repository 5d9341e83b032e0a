"""Scheduling of test files over several processes (`pytest -n`)."""

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# These resources start slowly, so all test files that share a resource run in the same process.
_SHARED = {
    "the demo's stack": (
        *("query/page/test_admin", "query/page/test_commands", "query/page/test_knowledge"),
        *("query/page/test_layout", "query/page/test_learner", "query/page/test_lists"),
    ),
    "another demo's stack": (  # of its own, because one chain ends after all others
        *("query/page/test_walks", "query/page/test_accessibility", "query/page/test_past_days"),
        *("query/page/test_practice", "query/page/test_requests", "examples/test_sign_in"),
        "alerts/test_metric_fields",
    ),
    "a third demo's stack": (
        *("query/page/test_set_task", "query/page/test_tasks", "query/page/test_text"),
        "query/page/test_why",
    ),
    "the plans": (
        "alerts/test_policies",
        *(
            f"terraform/test_{name}"
            for name in (
                *("analytics", "bootstrap", "buckets", "cloud_run"),
                *("database", "first_apply", "iam", "pubsub", "secrets", "settings"),
            )
        ),
    ),
    "the stack of faults": ("system/test_faults", "system/test_faults_input"),
    "the client's package": (
        *("clients/test_client", "clients/test_kills", "clients/test_generated_clients"),
    ),
    "PostgreSQL 15": (
        "adapters/test_logins",
        "event_store/test_append",
        "projections/test_invariant",
    ),
}

# Slow test files, by their approximate durations in seconds. The slowest files run first, so that
# all processes finish at about the same time. The duration of other files is estimated from their
# number of tests.
_LONG = {
    400: ("the demo's stack", "another demo's stack"),
    200: ("the plans",),
    100: ("a third demo's stack", "the stack of faults", "serve/test_stack", "PostgreSQL 15"),
    60: (
        *("demo/test_demo", "query/test_as_of", "recovery/test_archive_rebuild"),
        *("query/live/test_instances", "query/cache/test_cache"),
        *("query/live/test_sockets", "ingest/test_admission", "serve/test_serve"),
    ),
    45: (
        *("operations/test_kinds_under_faults", "operations/test_erasure_faults"),
        *("operations/test_runner", "the client's package", "recovery/test_released"),
        *("query/test_read_models_oracle", "query/test_drawn_documents", "system/test_counts"),
        *("release/test_try", "analysis/test_accuracy", "analysis/test_questions"),
        *("recovery/test_dumps", "recovery/test_checks", "terraform/test_preflight"),
    ),
    25: (
        *("query/test_intake", "query/test_lists", "query/test_page_files", "query/test_why"),
        *("recovery/test_new_postgres", "release/test_install", "clients/test_reminder"),
        *("event_store/test_append_tasks", "event_store/test_webhook_posts"),
    ),
}
_SECONDS = {scope: seconds for seconds, scopes in _LONG.items() for scope in scopes}
_SECONDS_PER_TEST = 0.2


class ByFile(LoadFileScheduling):  # type: ignore[misc] # xdist ships no types
    """A scheduler that runs a file's tests in one process; shared resources start once."""

    def _split_scope(self, nodeid: str) -> str:
        name = str(super()._split_scope(nodeid)).removeprefix("tests/").removesuffix(".py")
        return next((scope for scope, names in _SHARED.items() if name.startswith(names)), name)

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = max(self.workqueue, key=self._seconds)
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)

    def _seconds(self, scope: str) -> float:
        return max(_SECONDS.get(scope, 0), _SECONDS_PER_TEST * len(self.workqueue[scope]))
