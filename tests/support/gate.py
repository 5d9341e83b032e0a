"""The tests that `make test-gate` runs beyond those of `make test`: more than half of the time.

They start whole stacks, kill processes, lose databases, plan infrastructure, or look at pages in a
browser. A change of the code that they test is a reason to run them: `make test-gate ARGS=PATH`.
"""

import pytest

PARTS = (
    # Whole systems: processes that are killed, databases that go away, releases, the local stack.
    *("demo", "docker", "examples", "recovery", "release", "serve", "system"),
    "clients",
    # Terraform's plans, and what is made of them.
    *("alerts", "terraform"),
    # Operations under faults, and beside each other.
    *("operations/test_archive.py", "operations/test_command_line.py"),
    *("operations/test_erasure.py", "operations/test_erasure_faults.py"),
    *("operations/test_kinds_under_faults.py", "operations/test_silent_learners.py"),
    # Each mutation with its trace, and documents that are drawn from the schema.
    *("query/test_accesses.py", "query/test_drawn_documents.py"),
    # Several processes, their limits, servers of others, and what cannot be reached.
    *("query/live/test_instances.py", "query/live/test_sockets.py"),
    *("query/test_process.py", "ingest/test_admission.py", "adapters/test_startup.py"),
    *("adapters/test_circuit_breaker.py", "adapters/test_redis_client.py"),
    "adapters/test_redis_outages.py",
    *("query/test_learner_mutations.py", "adapters/test_request_heads.py"),
    *("event_store/test_publication.py", "event_store/test_posting.py", "ingest/test_disk_full.py"),
    # What odd bodies and letters cost.
    *("event_store/test_drawn_bodies.py", "event_store/test_letter_costs.py"),
    *("operations/test_batch_job.py", "projections/test_views.py"),
    *("adapters/test_cloud_scheduler.py", "adapters/test_files.py"),
    *("adapters/test_poolers.py", "adapters/test_timeouts.py", "adapters/test_tls.py"),
    # Logins and privileges, on servers of their own.
    *("adapters/test_logins.py", "adapters/test_roles.py"),
    # Further views of the page, its layout, its requests, its mutations and its past.
    *("query/page/test_admin.py", "query/page/test_layout.py", "query/page/test_past_days.py"),
    *("query/page/test_requests.py", "query/page/test_walks.py", "query/page/test_commands.py"),
    *("query/page/test_knowledge.py", "query/page/test_lists.py", "query/page/test_tasks.py"),
    # The archive, what is computed from it, definitions over a real log, decks of other programs.
    *("analysis", "archive", "importers", "projections/test_definitions.py"),
)


def is_gate_only(path: str) -> bool:
    """Return whether a file of tests, as a path below `tests`, is one of these parts."""
    return any(path == part or path.startswith(f"{part}/") for part in PARTS)


def is_further_example(item: pytest.Item) -> bool:
    """Return whether a test with the marker `first_in_gate` runs with other than the first values.

    A test has this marker if its examples take long, and the first finds most of what breaks it.
    """
    if not item.get_closest_marker("first_in_gate"):
        return False
    assert isinstance(item, pytest.Function)
    return any(item.callspec.indices.values())
