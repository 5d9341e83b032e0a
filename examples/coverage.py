"""How much of a text is known: python examples/coverage.py FILE en|de|ja [--group|--task GROUP]

Without a group, the answer is about the learner of TOKEN; with one, about its members, for the
teacher of TEACHER_TOKEN. With --task, the ten words that add most become the group's task for a
week. `[word]` is not known; `word?` is not in the catalogue. It needs simplemma or, for Japanese,
janome.
"""

import argparse
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unicodedata import normalize

import requests

PART = 200  # items of a request, as the API tells at most so many gaps
CATALOGUE = """query ($language: String, $after: String) {
  catalogue(language: $language, after: $after) {
    edges { node { itemId headword } } pageInfo { hasNextPage endCursor } } }"""
OF_LEARNER = """query ($items: [CoverageItem!]!) { coverage(items: $items) {
  covered tokens gaps(first: 200) { itemId headword count adds estimatedRecall } } }"""
OF_GROUP = """query ($group: ID!, $items: [CoverageItem!]!) { group(groupId: $group) { members
  coverage(items: $items) { covered tokens
    gaps(first: 200) { itemId headword count adds learners } } } }"""
TASK = """mutation ($group: ID!, $name: String!, $items: [ID!]!, $due: Date!, $key: ID!) {
  setTask(groupId: $group, name: $name, itemIds: $items, dueOn: $due, idempotencyKey: $key) {
    listId events } }"""


def ask(query: str, group: str | None, **variables: Any) -> Any:
    token = os.environ["TEACHER_TOKEN" if group else "TOKEN"]
    asked = variables | {"group": group} if group else variables
    body: dict[str, Any] = {"query": query, "variables": asked}
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.post(os.environ["QUERY_URL"], json=body, headers=headers, timeout=30).json()
    if "errors" in answer:
        raise SystemExit(answer["errors"][0]["message"])
    return answer["data"]


def split(text: str, language: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a text, each with the form that dictionaries have of it."""
    if language == "ja":
        from janome.tokenizer import Tokenizer

        tokens: Any = Tokenizer().tokenize(text)
        for token in tokens:
            yield token.surface, token.surface if token.base_form == "*" else token.base_form
        return
    from simplemma import lemmatize

    for part in re.findall(r"\w+(?:['’-]\w+)*|\W+", text):
        yield part, lemmatize(part, lang=language) if part[0].isalpha() else part


def comparable(word: str) -> str:
    return normalize("NFC", word).lower()


def read_catalogue(language: str, group: str | None) -> dict[str, str]:
    """Return the items by headword; of several items with one headword, one."""
    found, after, has_next = dict[str, str](), None, True
    while has_next:
        page = ask(CATALOGUE, group, language=language, after=after)["catalogue"]
        nodes = [edge["node"] for edge in page["edges"]]
        found |= {comparable(one["headword"]): one["itemId"] for one in nodes if one["headword"]}
        after, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    return found


def count(items: Counter[str], group: str | None) -> tuple[float, list[dict[str, Any]]]:
    """Return the share of the text that is known, and all gaps, those that add most first."""
    known, gaps, entries = 0.0, list[dict[str, Any]](), [*items.items()]
    for start in range(0, len(entries), PART):
        some = [{"itemId": item, "count": n} for item, n in entries[start : start + PART]]
        data = ask(OF_GROUP if group else OF_LEARNER, group, items=some)
        owner = data["group"] if group else data
        if owner is None:
            raise SystemExit(f"{group}: no members")
        found = owner["coverage"]
        known += found["covered"] * found["tokens"]
        for gap in found["gaps"]:
            lack = (
                gap["learners"] / owner["members"] if group else 1 - (gap["estimatedRecall"] or 0)
            )
            gaps.append(gap | {"lack": lack, "adds": gap["adds"] * found["tokens"] / items.total()})
    return known / max(items.total(), 1), sorted(gaps, key=lambda gap: -gap["adds"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("language", choices=("en", "de", "ja"))
    parser.add_argument("--group")
    parser.add_argument("--task", metavar="GROUP")
    asked = parser.parse_args()
    group = asked.task or asked.group
    catalogue = read_catalogue(asked.language, group)
    parts = [
        (part, catalogue.get(comparable(part)) or catalogue.get(comparable(lemma)))
        for part, lemma in split(asked.file.read_text(encoding="utf-8"), asked.language)
    ]
    items = Counter(item for _, item in parts if item)
    covered, gaps = count(items, group)
    missing = sum(part[0].isalpha() for part, item in parts if not item)
    print(f"{covered:.0%} of {items.total()} words known, {missing} others not in the catalogue\n")
    print("  lack   adds times word")
    for gap in gaps[:10]:
        name = gap["headword"] or gap["itemId"]
        print(f"{gap['lack']:6.0%} {gap['adds']:6.1%} {gap['count']:5} {name}")
    marks = {gap["itemId"]: "[{}]" for gap in gaps if gap["lack"] > 0.3}
    print()
    for part, item in parts:
        mark = "{}?" if item is None and part[0].isalpha() else marks.get(item, "{}")
        print(mark.format(part), end="")
    if asked.task and gaps:
        due = datetime.now(UTC).date() + timedelta(7)
        first = [gap["itemId"] for gap in gaps[:10]]
        key = uuid.uuid5(uuid.NAMESPACE_OID, f"{asked.task} {due} {first}")  # not twice on a day
        task = {"name": asked.file.stem, "items": first, "due": f"{due}", "key": f"{key}"}
        print("\ntask", ask(TASK, group, **task)["setTask"]["listId"])


if __name__ == "__main__":
    main()
