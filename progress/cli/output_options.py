"""The `--json` options that several commands share."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="As one JSON object.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
