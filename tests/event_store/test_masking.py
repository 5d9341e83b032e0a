"""Masking hides every email address in a rejected payload and keeps JSON valid."""

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress import masking
from progress.event_store import entries

texts = st.text(st.sampled_from('ab@"\\/u0040 .\n,:{}[]é😀'), max_size=12)
values = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@given(value=values, plain=st.booleans())
def test_masked_json_is_still_valid_json(value: Any, *, plain: bool) -> None:
    text = json.dumps(value, ensure_ascii=plain)
    for written in (text, text.replace("@", "\\u0040")):
        json.loads(masking.mask_json(written))


def test_an_email_address_in_json_is_masked() -> None:
    for text, masked in [
        (r'"\nann@b.org"', r'"\n***@b.org"'),
        (r'"\u0061nn@b.org"', r'"\u0061***@b.org"'),
        (r'"\ud83d\ude00nn@b.org"', r'"\ud83d\ude00***@b.org"'),
        (r'"\u0040ann@b.org"', r'"\u0040a***@b.org"'),
        (r'"ben\u0040ann@b.org"', r'"b***\u0040a***@b.org"'),
        (r'"\"an n\"@b.org"', r'"\"***@b.org"'),
        ('{"a": "@ann", "b": "ann@b.org"}', '{"a": "@ann", "b": "a***@b.org"}'),
        ('["a","@ann"]', '["a","@ann"]'),
    ]:
        assert masking.mask_json(text) == masked


def test_an_email_address_in_any_text_is_masked() -> None:
    for text in ['"an n"@b.org', "\\u0040ann@b.org", "x\\u0040ann@b.org"]:
        assert "nn" not in masking.mask_shapes(text).replace("an n", "nn")


def test_an_id_that_equals_an_email_address_in_the_event_is_not_masked() -> None:
    for name in [*entries.IDS, *entries.LATER_IDS]:
        data = {"email": "ann@b.org", name: "ann@b.org", "note": "ann@b.org"}
        masked = {"email": "a***@b.org", name: "ann@b.org", "note": "a***@b.org"}
        assert masking.mask_emails({"data": data}) == {"data": masked}


def test_masking_many_email_addresses_does_not_take_quadratic_time() -> None:
    data = {
        "email": [f"a{n}@b.org" for n in range(20_000)],
        "note": [f"see a{n}@b.org" for n in range(20_000)],
    }
    began = time.process_time()
    masked = masking.mask_emails({"data": data})
    # This would take minutes if every text were searched for each address.
    assert time.process_time() - began < 5
    assert set(masked["data"]["email"]) == {"a***@b.org"}
    assert set(masked["data"]["note"]) == {"s***@b.org"}


def test_an_address_is_masked_once_for_all_texts() -> None:
    def measure(addresses: int) -> float:
        email = [f"{n:02}@{'x' * 1_990}" for n in range(addresses)]
        began = time.thread_time()
        masking.mask_emails({"email": email, "texts": ["@"] * 50_000})
        return time.thread_time() - began

    assert min(measure(16) for _ in range(3)) < 4 * min(measure(1) for _ in range(3))


@pytest.mark.exhaustive
def test_the_memory_for_masking_many_words_is_proportional_to_the_length_of_the_text() -> None:
    text = "a@" * 500_000
    tracemalloc.start()
    masked = masking.mask_json(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert masked == "a***@" * 500_000
    assert peak < 6 * len(masked)
