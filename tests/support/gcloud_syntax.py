"""The syntax of gcloud calls, checked by the parser of the installed Google Cloud SDK."""

import functools
import json
import os
import shutil
from pathlib import Path

from tests.support import programs

# Print the calls that gcloud's own parser rejects. No call is made.
_PARSE = """
import json, sys
sys.path[:0] = [sys.argv[1] + "/lib", sys.argv[1] + "/lib/third_party"]
from googlecloudsdk import gcloud_main
cli = gcloud_main.CreateCLI([])
for call in json.load(sys.stdin):
    try:
        cli._CLI__parser.parse_args(call)
    except SystemExit:
        print(json.dumps(call))
"""


@functools.cache
def find_sdk() -> Path | None:
    program = shutil.which("gcloud")
    return Path(program).resolve().parent.parent if program else None


def find_rejected(sdk: Path, folder: Path, calls: list[list[str]]) -> list[list[str]]:
    own = sdk / "platform/bundledpythonunix/bin/python3"
    python = str(own) if own.exists() else os.environ.get("CLOUDSDK_PYTHON", "python3")
    environment = {"CLOUDSDK_CONFIG": str(folder / "config"), "PATH": os.environ["PATH"]}
    command = [python, "-S", "-c", _PARSE, str(sdk)]
    output = programs.run(command, environment, text=json.dumps(calls))
    return [json.loads(line) for line in output.splitlines()]
