"""The package learner-progress: built, packed and installed as an app installs it."""

import os
import shutil
from pathlib import Path

import pytest

from progress import files, settings
from tests.conftest import skip_without
from tests.support import http_servers, programs

CLIENT = files.ROOT / "clients" / "javascript"
VECTORS = CLIENT.parent / "vectors.json"
_QUIET = ["--offline", "--no-audit", "--no-fund", "--silent"]


@pytest.fixture(scope="session")
def client_app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (shutil.which("npm") and (CLIENT / "node_modules").exists()):
        skip_without(request, "npm", "and the packages of `make client`")
    return install(tmp_path_factory.mktemp("client"))


def install(folder: Path) -> Path:
    source, app = folder / "clients" / "javascript", folder / "app"
    shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (source / "node_modules").symlink_to(CLIENT / "node_modules")
    for name in ("LICENSE", "docs/skill.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(files.ROOT / name, folder / name)
    environment = settings.child_env(
        HOME=str(folder), PATH=f"{source}/node_modules/.bin:{os.environ['PATH']}"
    )
    programs.run(["npm", "pack", *_QUIET, "--pack-destination", folder], environment, folder=source)
    (archive,) = folder.glob("learner-progress-*.tgz")
    shutil.copytree(CLIENT / "test", app)
    (app / "package.json").write_text('{"type": "module", "private": true}', encoding="utf-8")
    programs.run(["npm", "install", *_QUIET, archive], environment, folder=app)
    (app / "node_modules" / "ts-fsrs").symlink_to(CLIENT / "node_modules" / "ts-fsrs")
    return app


def page_handler(app: Path, pages: dict[str, str]) -> type[http_servers.Handler]:
    """Return a handler that serves the client, the modules of its tests, and a text for each path.

    Every other path has the text of "/".
    """
    folders = (app / "node_modules" / "learner-progress" / "dist", app)
    modules = {f"/{file.name}": file for folder in folders for file in folder.glob("*.*js")}

    class Handler(http_servers.Handler):
        def do_GET(self) -> None:
            is_module = self.path in modules
            text = modules[self.path].read_text() if is_module else pages.get(self.path, pages["/"])
            kind = "text/javascript" if is_module else "text/html"
            self.respond(200, text.encode(), cut=None, **{"Content-Type": kind})

    return Handler
