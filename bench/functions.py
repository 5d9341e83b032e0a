"""Run functions with functions-framework as in production: one process, eighty threads."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench import processes
from progress.serve import readiness
from tests.support import function_process
from tests.support.function_process import FunctionProcess

_FOLDER = Path(__file__).with_name("empty")
_EMPTY = {"empty": _FOLDER / "sync.py", "empty ASGI": _FOLDER / "asynchronous.py"}


class Function(FunctionProcess):
    def memory(self) -> float:
        """Return the memory of the function and of its supervising process, in MB."""
        return sum(p.memory_info().rss for p in processes.list_family(self.process.pid)) / 1e6


@contextlib.contextmanager
def start(name: str, **environment: str) -> Iterator[Function]:
    """Start the function without waiting until it responds."""
    source = _EMPTY[name].read_text(encoding="utf-8") if name in _EMPTY else ""
    # The image has compiled code. Without cached bytecode, a start takes 35 % longer.
    bytecode = {"PYTHONDONTWRITEBYTECODE": ""}
    target = name.partition(" ")[0]
    with function_process.run(target, bytecode | environment, source, waits=False) as started:
        yield Function(started.port, started.process)


@contextlib.contextmanager
def run(name: str, **environment: str) -> Iterator[Function]:
    """Run the function. The block begins when the function responds."""
    with start(name, **environment) as function:
        readiness.wait(function.responds, name)
        yield function
