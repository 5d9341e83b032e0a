"""Reduce a root module to its variables, because Terraform validates a whole module slowly."""

import re
from pathlib import Path

from tests.support.terraform import Root

_VARIABLE = re.compile(r'^variable "\w+" \{\n.*?^\}\n', re.MULTILINE | re.DOTALL)
_LOCALS = re.compile(r"^locals \{\n(.*?)^\}\n", re.MULTILINE | re.DOTALL)
_LOCAL = re.compile(r"^(?=  \w+ += )", re.MULTILINE)
_REFERENCE = re.compile(r"\blocal\.(\w+)")
_KEY = re.compile(r'^    ("[\w-]+") = \{$', re.MULTILINE)


def copy_variables(source: Path, folder: Path) -> Root:
    """Write the variables of a root module to `folder`, with the locals that they use.

    Only the keys of `local.alerts` are copied, because its values refer to resources.
    """
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted(source.glob("*.tf")))
    variables = "\n".join(_VARIABLE.findall(text))
    lines = {
        line.split()[0]: line
        for body in _LOCALS.findall(text)
        for line in _LOCAL.split(body)
        if line.strip()
    }
    if "alerts" in lines:
        keys = ", ".join(_KEY.findall(lines["alerts"]))
        lines["alerts"] = f"  alerts = {{ for name in [{keys}] : name => {{}} }}\n"
    used = dict[str, str]()
    while new := {*_REFERENCE.findall(variables + "".join(used.values()))} - used.keys():
        used |= {name: lines[name] for name in new}
    folder.mkdir(parents=True)
    blocks = f"{variables}\nlocals {{\n{''.join(used.values())}}}\n"
    (folder / "variables.tf").write_text(blocks, encoding="utf-8")
    return Root(folder, f"{source}/environments/{{}}.tfvars", has_providers=False)
