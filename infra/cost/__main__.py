"""`python -m infra.cost`: writes the tables of docs/cost.md, between their marks, and its chart."""

from infra.cost import chart, tables
from infra.cost.usage import HERE

DOCS = HERE.parent.parent / "docs"


def written(document: str) -> str:
    """The document with its tables as they are now."""
    for name, table in tables.TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        if document.count(begin) != 1 or document.count(end) != 1:
            raise SystemExit(f"docs/cost.md has no place for the table `{name}`, or several")
        before, rest = document.split(begin)
        document = before + begin + table() + end + rest.split(end)[1]
    return document


def main() -> None:
    told = DOCS / "cost.md"
    told.write_text(written(told.read_text(encoding="utf-8")), encoding="utf-8")
    (DOCS / "cost.svg").write_text(chart.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
