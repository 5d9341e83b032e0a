"""The processes that the local stack starts."""

import subprocess
import sys

import pytest

from progress.local import processes, readiness

PARENT = """
import subprocess, time
from progress.local import processes
print(processes.start(["sleep", "60"], output=subprocess.DEVNULL).pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sends a signal at a parent's death")
def test_a_process_ends_with_its_killed_parent() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = processes.identify(int(parent.stdout.readline()))
        assert processes.is_alive(child)
        parent.kill()
    readiness.wait(lambda: not processes.is_alive(child), "the end of the child")
