"""The examples of docs/python.md run on a real database, and show every public method."""

import inspect
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
