"""The generated files of the event contract."""

import json
from pathlib import Path
from typing import Any

from progress.event_store.contract import asyncapi, document, openapi, schemas

_SCHEMAS, _PUBLISHED = Path("schemas", "events"), Path("schemas", "published")


def make() -> dict[Path, str]:
    """Return the text of each generated file by its path in the repository."""
    texts = {
        folder / f"{name}.json": encode(schema)
        for folder, made in ((_SCHEMAS, schemas.make_all()), (_PUBLISHED, schemas.make_published()))
        for name, schema in made.items()
    }
    texts[Path("schemas", "asyncapi.json")] = encode(asyncapi.make())
    texts[Path("schemas", "openapi.json")] = encode(openapi.make())
    texts[Path("docs", "events.md")] = document.make()
    return texts


def find_stale(root: Path) -> list[Path]:
    """Return the paths of generated files that are missing, outdated or no longer generated."""
    texts = make()
    folders = [root / _SCHEMAS, root / _PUBLISHED]
    existing = {path.relative_to(root) for each in folders for path in each.glob("*.json")}
    stale = existing - texts.keys()
    for path, text in texts.items():
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text:
            stale.add(path)
    return sorted(stale)


def write(root: Path) -> list[Path]:
    """Write missing and outdated files, and delete others; return the paths of these files."""
    texts, stale = make(), find_stale(root)
    for path in stale:
        target = root / path
        if path in texts:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(texts[path], encoding="utf-8")
        else:
            target.unlink()
    return stale


def encode(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
