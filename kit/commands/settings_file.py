"""`transferkit new`: a file of all settings, to be changed by hand."""

import json
import textwrap
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

_WIDTH = 100
_HEAD = """\
# Settings of a run: `transferkit train DATA --config {name}`, or `transferkit study run DATA --config {name}`.
#
# Each setting stands here with its default. Take the `# ` away from a line to change it; of [[phases]], take it away
# from the whole block: phases that a file gives replace both of the defaults.
"""


def new(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to be.")] = Path("run.toml"),
) -> None:
    """Writes a file of all settings, their defaults and meanings.

    It is to be changed by hand, for `train --config`.
    """
    from kit.errors import StorageError
    from kit.files import storage_errors, write_text

    if file.exists():
        raise StorageError(f"{file} is there already.", "Name another file.")
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, template(file.name))
    print(f"Settings: {file}. Next: transferkit train DATA --config {file}")


def template(name: str) -> str:
    """Settings as TOML, each a comment below what it means."""
    from kit.config import RunConfig
    from kit.setting_table import keys
    from kit.settings import to_toml

    blocks = [_HEAD.format(name=name)]
    for section, settings in groupby(keys(), key=lambda one: one.key.rpartition(".")[0]):
        phases = section == "phases.N"
        lines = [] if phases or not section else [f"[{section}]"]
        for one in settings:
            last = one.key.rpartition(".")[2]
            lines += _comment(f"{last}: {one.help}" if phases else one.help)
            lines += [] if phases else [f"# {last} = {_toml(one.default)}", ""]
        blocks.append("\n".join(lines).rstrip() + "\n")
    toml = to_toml(RunConfig())
    blocks.append(textwrap.indent(toml[toml.index("[[phases]]") :].strip(), "# ") + "\n")
    return "\n".join(blocks)


def _comment(text: str) -> list[str]:
    # two signs: what one is taken away from is a setting
    return [f"## {line}" for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)]


def _toml(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)  # of these types JSON is TOML
