"""The examples of docs/python.md run on a real database, and show every public method."""

import inspect
import pkgutil
import re
import sys
from pathlib import Path

import pytest

from progress import settings
from progress.event_store import EventStore
from progress.event_store.log import PostgresEventStore
from progress.query.read_models.queries import Queries
from tests.conftest import Store
from tests.support import programs

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"


def test_the_examples_give_the_results_that_the_page_shows(store: Store) -> None:
    environment = settings.child_env(DATABASE_URL=store.url, PYTHONPATH=str(ROOT))
    programs.run([sys.executable, "-m", "doctest", str(PAGE)], environment)


@pytest.mark.parametrize("interface", [EventStore, Queries])
def test_every_public_method_has_an_example(interface: type) -> None:
    names = [name for name, _ in inspect.getmembers(interface, inspect.isfunction)]
    text = PAGE.read_text(encoding="utf-8")
    missing = [name for name in names if not name.startswith("_") and f".{name}(" not in text]
    assert missing == []


def test_the_store_has_only_the_methods_of_the_interface() -> None:
    def public(of: type) -> set[str]:
        return {name for name in vars(of) if not name.startswith("_")}

    assert public(PostgresEventStore) == public(EventStore)


def test_each_name_of_the_brief_has_its_name_here() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Names of the brief\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", section, re.MULTILINE)
    named = {name for brief, _ in rows for name in re.findall(r"`(\w+)`", brief)}
    assert named == {
        *("EventStore", "PersistedEvent", "EventMetadata", "DomainEvent", "UserProgressRepository"),
        *("DailyStatsRepository", "ProjectionManager", "Projection", "SnapshotPolicy"),
        *("ProgressRepositoryError", "ProjectionMonitor"),
    }
    for _, here in rows[2:]:
        for name in re.findall(r"`(progress\.[\w.]+)`", here):
            assert pkgutil.resolve_name(name), name
        for name in re.findall(r"`(?:Queries\.)?([a-z]\w+)`", here):
            assert name == "metadata" or hasattr(Queries, name), name
