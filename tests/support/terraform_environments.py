"""Terraform's environments and variants of them, planned and applied once for all tests."""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.terraform import Root, copy_root, need_offline
from tests.support.terraform_state import Deployment, Values

SUBSCRIBER = "serviceAccount:rewards@example-dev.iam.gserviceaccount.com"
ALERTS = [
    *("availability-burn", "availability-fast-burn", "batch-job", "cache-hit-rate"),
    *("database-limits", "database-load", "dead-letters"),
    *("error-logs", "errors", "event-delay", "freshness-burn", "freshness-fast-burn"),
    *("learner-entries",),
    *("letter-bytes", "operations"),
    *("pending-events", "projection-lag", "publication-lag", "slow-queries", "uptime"),
]

# Options of an environment that migrates from Neon to Cloud SQL. It also has analysts, limits of
# the lag, all alerts, a channel beside e-mail, an issuer of its own, a subscriber to events, and
# copies of its dumps.
PAGERDUTY_KEY = "pagerduty-integration-key"
MIGRATION = (
    *("-var=alert_channel=pagerduty:7", f"-var=pagerduty_key={PAGERDUTY_KEY}"),
    f"-var=alerts={json.dumps(ALERTS)}",
    *("-var=migration_target=cloud_sql", "-var=dump_copy=their-copies"),
    *("-var=max_lag_events=750", "-var=max_lag_seconds=4", "-var=max_lag_batch_seconds=1200"),
    '-var=database_analysts=["user:ana@example.com"]',
    '-var=auth={issuer="https://login.example.com",jwks_url="https://login.example.com/keys"}',
    "-var=api={introspection=true}",
    "-var=retention_months=240",
    f"-var=event_subscriptions={{rewards-sub={{subscribers=[{json.dumps(SUBSCRIBER)}]}}}}",
)


class Environments:
    """The deployments of dev, staging and prod, by environment.

    The first test process that needs a deployment creates it for all test processes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._deployments: dict[str, Deployment] = {}

    def __getitem__(self, environment: str) -> Deployment:
        return self._make_once(environment, lambda root: root.deploy(environment))

    def variant(self, name: str, environment: str, *options: str) -> Deployment:
        base = self[environment]
        return self._make_once(name, lambda root: root.change(base, name, environment, *options))

    def root(self) -> Root:
        with self._lock():
            return self._root()

    def plan_after(self, environment: str, change: Callable[[Values], None]) -> str:
        """Plan with a changed copy of the state; return the plan, or "" if it changes nothing."""
        need_offline()
        state: Values = json.loads(json.dumps(self[environment].state))
        change(state)
        root = self.root()
        (root.folder / "changed.tfstate").write_text(json.dumps(state))
        with self._lock():
            return root.find_changes(environment, "changed")

    def _root(self) -> Root:
        folder = self._folder / "repository"
        if (ready := self._folder / "ready").exists():
            return Root(folder / "infra" / "terraform")
        root = copy_root(folder)
        ready.touch()
        return root

    def _make_once(self, name: str, make: Callable[[Root], Deployment]) -> Deployment:
        if name not in self._deployments:
            file = self._folder / f"{name}.json"
            with self._lock():
                if not file.exists():
                    made = make(self._root())
                    content = [made.plan, made.state, made.second_plan, made.passwords]
                    file.write_text(json.dumps(content))
            self._deployments[name] = Deployment(*json.loads(file.read_text()))
        return self._deployments[name]

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
