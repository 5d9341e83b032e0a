"""The caches of documents keep to their memory limits, whatever the documents contain."""

import asyncio
import gc
import hashlib
import itertools
import tracemalloc
from collections.abc import Callable

import pytest

from progress.query.execution import documents
from progress.query.execution.documents import LruCache
from progress.query.http import persisted_queries
from progress.query.http.persisted_queries import PersistedQueries
from tests.support.parameters import first_in_gate

LIMIT = 4 << 20  # bytes
WIDE = "\U0001f600"  # a text with this character has 4 bytes per character
SEARCH = '{ itemStats(search: "%s") { totalCount } }'
DAYS = 'dailyStats(from: "2024-01-01", to: "2024-01-02") { date }'
CONDITIONS = "abcd"


def repeat(piece: str, times: int) -> str:
    """Return the piece several times; each # is replaced by a number."""
    return " ".join(piece.replace("#", str(number)) for number in range(times))


def conditional(fields: str) -> str:
    """Return a query with 16 plans, one for each combination of its variables' values."""
    variables = " ".join(f"${name}: Boolean!" for name in CONDITIONS)
    chosen = " ".join(f"{name}: __typename @include(if: ${name})" for name in CONDITIONS)
    return f"query ({variables}) {{ {chosen} {fields} }}"


# The texts have nearly 100 KiB, 2,000 tokens or 30 aliases, the limits of a document.
VALID = {
    "one wide character in a comment": "{ __typename } #" + "x" * 98_000 + WIDE,
    "one wide character in a string": SEARCH % ("x" * 98_000 + WIDE),
    "one wide character, escaped": SEARCH % ("x" * 98_000 + r"\u{1F600}"),
    "one wide character in a block": SEARCH % ('""' + "x\n" * 48_000 + WIDE + '""'),
    "wide characters": SEARCH % (WIDE * 24_000),
    "characters of two bytes": SEARCH % ("\u0436" * 48_000),
    "characters of one byte": SEARCH % ("\u00e9" * 48_000),
    "a long alias": f"{{ {'a' * 98_000}: streak {{ current }} }}",
    "comments": "{ __typename }" + "#x\n" * 1_900,
    "operations": repeat("query q# { __typename }", 390),
    "plans of operations": repeat("query q# { ...f }", 200)
    + f" fragment f on Query {{ streak {{ current longest }} {DAYS} }}",
    "spreads": "{ streak { " + "...f " * 900 + "} } fragment f on Streak { current }",
    "fragments": f"{{ streak {{ {repeat('...f#', 60)} }} }} "
    + repeat("fragment f# on Streak { current }", 60),
    "variables": f"query ({repeat('$v#: Int = 1', 25)}) "
    f"{{ {repeat('a#: itemStats(first: $v#) { totalCount }', 25)} }}",
    "nesting": "{ " + "... { " * 25 + "__typename" + " }" * 26,
    "plans of constants": conditional(repeat("a#: __typename", 26)),
    "plans of objects": conditional(repeat("a#: streak { current longest }", 26)),
    "plans of lists": conditional(repeat(f"a#: {DAYS}", 26)),
    "small documents": "{ __typename }",
    "small documents with a column": "{ streak { current } }",
}
REJECTED = {
    "one wide character": "} #" + "x" * 4_000 + WIDE,
    "unknown fields": f"{{ {repeat('x#', 300)} }}",
    "wide characters": '{ streak(x: "' + WIDE * 2_000 + '") }',
    "operations": repeat("query q# { x }", 300),
    "a long name": f"{{ {'x' * 98_000} }}",
    "a syntax error": "}",
}


def fill_cache(cache: LruCache, text: str) -> None:
    """Read and plan documents with this text until the first of them is evicted."""
    for number in itertools.count(len(cache._documents)):
        document = documents.read(f"#{number}\n{text}", introspection=False)
        for operation in document.operations:
            for values in itertools.product([True, False], repeat=len(CONDITIONS)):
                operation.root_fields(dict(zip(CONDITIONS, values, strict=True)))
        if len(cache._documents) <= number:
            return


def measure_memory(fill: Callable[[], object]) -> int:
    """Return the memory that a function has allocated, and that is still in use, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        fill()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


@pytest.mark.parametrize("name", first_in_gate(VALID))
def test_the_cache_of_valid_documents_keeps_to_its_limit(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    cache = LruCache(LIMIT)
    monkeypatch.setattr(documents, "_valid", cache)
    assert not documents.read(VALID[name], introspection=False).errors
    assert measure_memory(lambda: fill_cache(cache, VALID[name])) < 1.1 * LIMIT


@pytest.mark.parametrize("name", first_in_gate(REJECTED))
def test_the_cache_of_rejected_documents_keeps_to_its_limit(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    cache = LruCache(LIMIT)
    monkeypatch.setattr(documents, "_rejected", cache)
    assert documents.read(REJECTED[name], introspection=False).errors
    assert measure_memory(lambda: fill_cache(cache, REJECTED[name])) < 1.1 * LIMIT


def test_an_evicted_document_is_released_without_a_garbage_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = LruCache(LIMIT)
    monkeypatch.setattr(documents, "_valid", cache)
    documents.read(VALID["spreads"], introspection=False)
    gc.collect()
    gc.disable()
    try:
        cache._documents.clear()
        assert gc.collect() == 0  # the number of objects that only the collection has released
    finally:
        gc.enable()


@pytest.mark.parametrize("padding", ["", "x" * 90_000 + WIDE])
def test_the_persisted_documents_keep_to_their_limit(
    monkeypatch: pytest.MonkeyPatch, padding: str
) -> None:
    monkeypatch.setattr(persisted_queries, "_MAX_BYTES", LIMIT)
    queries = PersistedQueries(None)

    async def store() -> None:
        for number in range(20_000 if not padding else 40):
            text = f"#{number}{padding}"
            await queries.store(hashlib.sha256(text.encode()).hexdigest(), text)

    assert measure_memory(lambda: asyncio.run(store())) < 1.1 * LIMIT
