"""The docs say what the code does."""

import ast
import importlib
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

from kit import cli

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks" / "README.md",
]


def test_the_settings_page_is_what_the_dataclasses_say():
    spec = importlib.util.spec_from_file_location("make_configuration", ROOT / "docs" / "make_configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == module.render()


def commands_shown() -> list:
    """Every `transferkit ...` line in a code block of the docs."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [pytest.param(line, id=line[:60]) for line in lines if re.search(r"\btransferkit ", line)]
    return found


@pytest.mark.parametrize("line", commands_shown())
def test_a_command_shown_in_the_docs_has_the_options_it_is_shown_with(line):
    words = shlex.split(line.split("&&")[-1].split("|")[0], comments=True)
    words = words[words.index("transferkit") + 1 :]
    command = typer.main.get_command(cli.app)
    with command.make_context("transferkit", [words[0]] if words[0].startswith("-") else list(words)) as context:
        if words[0].startswith("-"):
            return
        name, subcommand, rest = command.resolve_command(context, words)
        # parses: unknown options, missing arguments and values of the wrong type raise UsageError
        subcommand.make_context(name, rest, parent=context, resilient_parsing=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_fit_into_a_window(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120] == []


def test_every_extra_is_in_the_table_of_what_may_be_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = (ROOT / "docs/install.md").read_text(encoding="utf-8").partition("## Extras")[2].partition("\n\nSeveral")[0]
    listed = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.partition(" | ")[0])]
    assert sorted(listed) == sorted(project["optional-dependencies"])


def test_every_dependency_has_its_reason_on_the_page_of_decisions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"`([\w-]+)`", (ROOT / "docs/decisions/0019-dependencies.md").read_text(encoding="utf-8"))
    wanted = {re.split(r"[<>=\[]", one)[0] for one in project["dependencies"]}
    assert wanted - {"filelock"} <= set(named), "filelock has a page of its own"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_figure_is_left_to_be_filled_in(page):
    assert "TODO" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["kit", "search", "reports"])
def test_the_api_reference_has_every_public_name(name):
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").partition(f".. currentmodule:: {name}\n")[2]
    listed = re.findall(r"^\.\. auto\w+:: (\w+)$", page.partition("```")[0], re.M)
    assert sorted(listed) == sorted(importlib.import_module(name).__all__)


def test_the_page_on_reading_figures_has_every_figure_of_a_page():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "reports").rglob("*.py")]
    drawn = {name for source in sources for name in re.findall(r'"(\w+)-figure"', source)} | {"confusion", "map"}
    page = (ROOT / "docs" / "reading-figures.md").read_text(encoding="utf-8")
    assert {name for names in re.findall(r"\((`[\w`, ]+`)\)", page) for name in re.findall(r"\w+", names)} == drawn


# Modules of kit/ that `kit.train` on JAX, from class folders and a weights file, has no use for.
NOT_ON_THE_WALK = """
    backends/mixing backends/tensorflow backends/torch backends/torch_kernels cache/inventory cli data/archives
    data/download data/forms data/given
    data/in_memory data/synsets data/tables evaluation_record explain inspection learning_rates
    model/efficientnet_lite model/hub model/loading model/torch_file new_images predict run_images seeds
    training/estimate trial hub_push
"""


def test_the_walk_of_one_image_names_every_module_that_has_a_part():
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    walk = page.partition("## The walk of one image")[2].partition("In version 0.1")[0].partition("1. **start**")[2]
    named = set()
    for clause in re.split(r";|\n\n|\n\d+\.", walk):
        folder = ""
        for name in re.findall(r"`([^`]+)`", clause):
            folder = name if name.endswith("/") else folder
            named |= set() if name.endswith("/") or name == "__init__" else {folder + name}
    modules = {path.relative_to(ROOT / "kit").with_suffix("").as_posix() for path in (ROOT / "kit").rglob("*.py")}
    modules = {name for name in modules if not name.startswith(("synthetic/", "commands/", "export/"))}
    modules = {name for name in modules if not name.endswith("__init__")}
    assert named == modules - set(NOT_ON_THE_WALK.split()), "name it in docs/how-it-works.md, or above"


def messages_of_the_code() -> set[str]:
    """Every text of the sources, what is filled in shown as …"""
    found = set()
    for path in (path for folder in ("kit", "search", "reports") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.add(re.sub("…+", "…", "".join(parts)))
    return found


def test_each_message_of_the_troubleshooting_page_is_one_of_the_code():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    shown = re.findall(r"^- `(.+)`\\$", page, re.M)
    assert len(shown) > 40
    assert sorted(set(shown) - messages_of_the_code()) == []
