"""What messages advise exists where they are printed: options, commands, settings, packages.

Read from the source: who can print what is a walk of names from each command's function, too wide rather than too
narrow (any method of a name counts, whatever its object).
"""

import ast
import functools
import re
import shlex
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from kit.cli import find_commands, load_command
from kit.machine import EXTRAS, install_command
from kit.setting_table import SECTIONS, find_setting

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for part in ("kit", "search", "reports") for path in (ROOT / part).rglob("*.py"))
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
COMMAND = re.compile(r"transferkit ((?:study|cache) [a-z]+|[a-z][a-z-]*)([^`]*)")


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def options():
    """Command ("train", "study run") -> its options."""
    found = {}
    for name, point in find_commands().items():
        command = load_command(point)
        inner = getattr(command, "commands", None)
        for words, one in [(name, command)] if inner is None else [(f"{name} {sub}", inner[sub]) for sub in inner]:
            found[words] = {option for param in one.params for option in (*param.opts, *param.secondary_opts)}
    return found


def text_of(node):
    """Text of a literal; what is filled in becomes {}."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)


@functools.cache
def texts(function):
    """Texts of a function's body, without its docstring."""
    return list(_texts(function))


def _texts(function):
    inside = {id(part) for node in ast.walk(function) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    documentation = {id(node.value) for node in function.body if isinstance(node, ast.Expr)}
    for statement in function.body:
        for node in ast.walk(statement):
            joined = isinstance(node, ast.JoinedStr)
            plain = isinstance(node, ast.Constant) and id(node) not in inside | documentation
            if joined or (plain and isinstance(node.value, str)):
                yield text_of(node)


class Source:
    """Functions of the source by qualified name, the texts of each, and what each may call."""

    def __init__(self):
        self.nodes, self.methods, self.imports = {}, defaultdict(set), {}
        for path in FILES:
            module, tree = module_name(path), ast.parse(path.read_text(encoding="utf-8"))
            self.imports[module] = {
                alias.asname or alias.name: f"{node.module}.{alias.name}"
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            for node in tree.body:
                if isinstance(node, ast.FunctionDef):
                    self.nodes[f"{module}.{node.name}"] = module, node
                elif isinstance(node, ast.ClassDef):
                    for inner in node.body:
                        if isinstance(inner, ast.FunctionDef):
                            self.nodes[f"{module}.{node.name}.{inner.name}"] = module, inner
                            self.methods[inner.name].add(f"{module}.{node.name}.{inner.name}")

    def called(self, name):
        module, function = self.nodes[name]
        known = self.imports[module]
        classes = (f"{module}.", *(f"{found}." for found in known.values()))
        for node in ast.walk(function):
            if isinstance(node, ast.Name):
                yield from self.resolved(known.get(node.id, f"{module}.{node.id}"))
            elif isinstance(node, ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else ""
                exact = f"{known[owner]}.{node.attr}" if owner in known else f"{module}.{owner}.{node.attr}"
                if exact in self.nodes:
                    yield exact
                elif owner not in known or known[owner] not in self.imports:
                    yield from (one for one in self.methods[node.attr] if one.startswith(classes))

    def resolved(self, name):
        """The function, or what makes an object of the class."""
        yield from (one for one in (name, f"{name}.__init__", f"{name}.__post_init__") if one in self.nodes)

    @functools.cached_property
    def graph(self):
        return {name: set(self.called(name)) for name in self.nodes}

    def reached(self, start):
        seen, waiting = set(), [start]
        while waiting:
            if (name := waiting.pop()) not in seen and name in self.graph:
                seen.add(name)
                waiting += self.graph[name]
        return seen


@pytest.fixture(scope="module")
def source():
    return Source()


def entries():
    """Command -> qualified name of its function."""
    for name, point in find_commands().items():
        command = load_command(point)
        inner = getattr(command, "commands", None) or {"": command}
        for sub, one in inner.items():
            function = one.callback
            yield f"{name} {sub}".strip(), f"{function.__module__}.{function.__name__}"


SUFFIXES = (".py", ".md", ".csv", ".json", ".html", ".keras", ".onnx", ".tflite", ".xml")
# (command, function) -> why the option that its message names is none of that command.
ELSEWHERE = {
    ("inspect", "kit.data.audit._conflicts"): "printed after `Training would refuse these data as they are:`",
    ("inspect", "kit.data.audit._leaks"): "the same",
    ("inspect", "kit.data.audit.exclude"): "inspect never sets strict",
    ("evaluate", "kit.data.audit._leaks"): "evaluate forgets given splits before it looks for leaks",
    ("evaluate", "kit.data.audit.exclude"): "evaluate never sets strict",
    ("evaluate", "kit.data.audit._scene_warning"): "evaluate draws no splits, and prints no warning about them",
    ("evaluate", "kit.data.name_groups.propose"): "the same",
    ("evaluate", "kit.data.name_groups.groups_by"): "evaluate groups nothing by names",
    ("evaluate", "kit.data.split.assign_folds"): "its run was split by these settings already",
    ("study run", "kit.data.split.assign_folds"): "a study refuses folds before that",
    ("inspect", "kit.data.split.assign_folds"): "inspect makes no folds",
    ("doctor", "kit.model.weights.offline_ways"): "advice for the training to come",
}
OWN_IMAGES = "demo"  # draws its images and trains by fixed settings: what asks for others cannot happen


def test_every_option_that_a_message_names_is_one_of_the_command_that_prints_it(source):
    dead_ends = {
        (words, name, option): text
        for words, start in entries()
        if words != OWN_IMAGES
        for name in source.reached(start)
        if (words, name) not in ELSEWHERE
        for text in texts(source.nodes[name][1])
        for option in set(OPTION.findall(COMMAND.sub("", text))) - options()[words]
    }
    assert sorted(dead_ends) == []


def test_the_walk_finds_what_it_should(source):
    """Or the test above would pass for want of looking."""
    starts = dict(entries())
    assert "kit.data.audit._conflicts" in source.reached(starts["evaluate"])
    assert "kit.run_writer.RunWriter.require_vacant" in source.reached(starts["train"])
    assert "kit.model.weights._imagenet" in source.reached(starts["study run"])
    assert "kit.data.audit._conflicts" not in source.reached(starts["predict"])
    assert all(name in source.reached(starts[words]) for words, name in ELSEWHERE)


def test_every_command_that_a_message_names_exists_with_its_options(source):
    faults = [
        (text, words, option)
        for _, function in source.nodes.values()
        for text in texts(function)
        for quoted in re.findall(r"`([^`]*)`", text)
        for words, rest in COMMAND.findall(quoted)
        for option in [None, *OPTION.findall(rest)]
        if words != "{}" and (words not in options() or (option and option not in options()[words]))
    ]
    assert [fault for fault in faults if fault[1] not in ("study", "cache")] == []


def test_every_setting_that_a_message_names_exists(source):
    sections = "|".join(SECTIONS)
    named = {
        (name, key)
        for name, (_, function) in source.nodes.items()
        for text in texts(function)
        for key in re.findall(rf"(?<![\w./-])(?:(?:{sections})\.[a-z_]+|phases\.(?:N|\d)\.[a-z_]+)\b(?!\()", text)
        if not key.endswith(SUFFIXES)
    }
    assert len(named) > 5
    assert [(name, key) for name, key in named if find_setting(key.replace(".N.", ".0.")) is None] == []


# === Packages ===

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCUMENTS = [
    *(
        path
        for kind in ("*.md", "*.ipynb")
        for folder in (ROOT / "docs", ROOT / "examples")
        for path in folder.rglob(kind)
    ),
    *(path for part in ("benchmarks", "starter") for path in (ROOT / part).rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
# fastapi and uvicorn are of docs/deployment.md.
KNOWN_PACKAGES = {"nox", "torch", "opencv-python-headless", "fastapi", "uvicorn"} | {
    re.split(r"[<>=[]", needed)[0]
    for listed in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for needed in listed
}


def test_extras_that_hints_install_are_those_of_the_project():
    assert {extra: tuple(PROJECT["optional-dependencies"][extra]) for extra in EXTRAS} == EXTRAS


def test_every_pip_install_can_succeed():
    """transferkit is on no package index: its extras come from a checkout, other packages by their names."""
    faults = []
    for path in [*FILES, *DOCUMENTS]:
        text = path.read_text(encoding="utf-8")
        faults += [(path, "transferkit[")] * bool(re.search(r"pip install[^\n]*transferkit\[", text))
        for asked in re.findall(r"pip install ([^\n`&;#\"]+)", text):
            for word in (word.strip("'") for word in asked.split() if not word.startswith("-")):
                extras = re.fullmatch(r"\.(?:\[([\w,]+)\])?", word)
                known = set((extras[1] or "jax").split(",")) if extras else {"?"}
                if not known <= set(PROJECT["optional-dependencies"]) and word not in KNOWN_PACKAGES:
                    faults.append((path, word))
    assert faults == []


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_hint_is_a_command_for_a_shell(extra):
    words = shlex.split(install_command(extra))
    assert words == ["pip", "install", *PROJECT["optional-dependencies"][extra]]
