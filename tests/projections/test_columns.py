"""What a column means stands once."""

from progress.projections import columns, schema


def test_a_column_with_a_text_of_its_name_does_not_repeat_it() -> None:
    shared = columns.read_shared()
    own = {
        (name, column): text
        for name in schema.list_views()
        if "table" in schema.trace(name)
        for column, text in columns.find_own(name).items()
    }
    assert own
    assert [
        key for key, text in own.items() if key[1] in shared and text == shared[key[1]].english
    ] == []
    texts = [meaning.english for meaning in shared.values()]
    assert len({*texts}) == len(texts)
