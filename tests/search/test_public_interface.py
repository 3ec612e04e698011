"""search/ uses Optuna's public interface alone: read from the source, nothing imported."""

import ast
from pathlib import Path

import pytest

SEARCH = Path(__file__).resolve().parents[2] / "search"
FILES = sorted(SEARCH.rglob("*.py"))
ALLOWED = {"os._exit"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def found(source: str) -> list[str]:
    """Uses of private names of anything but oneself: attributes, imports, getattr and setattr; and patched classes."""
    tree, names = ast.parse(source), []
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if isinstance(node, ast.Import) or node.module.partition(".")[0] not in ("kit", "search")
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            names += [ast.unparse(node)] if ast.unparse(node.value) not in ("self", "cls") else []
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names if private(alias.name)]
            names += [node.module] if any(map(private, node.module.split("."))) else []
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if any(map(private, alias.name.split(".")))]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr"):
            names += [ast.unparse(node)] if private(str(getattr(node.args[1], "value", ""))) else []
            names += [ast.unparse(node)] if ast.unparse(node.func) == "setattr" else []
        elif isinstance(node, ast.ClassDef):
            bases = [base for base in map(ast.unparse, node.bases) if base.partition(".")[0] in imported]
            kept = {"Protocol", "Exception", "enum.Enum"}
            names += [f"class {node.name}({base})" for base in bases if base not in kept]
        elif isinstance(node, ast.Assign):  # a method replaced: optuna.Study.ask = ours
            targets = [ast.unparse(target) for target in node.targets if isinstance(target, ast.Attribute)]
            names += [name for name in targets if name.count(".") > 1 and name.partition(".")[0] in imported]
    return [name for name in names if name not in ALLOWED]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SEARCH).as_posix())
def test_no_private_name_of_another_library(path):
    assert found(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("trial._trial_id", ["trial._trial_id"]),
        ("self.study._storage.get_trial(0)", ["self.study._storage"]),
        ("self._number + cls._number", []),
        ("from optuna.storages._heartbeat import BaseHeartbeat", ["optuna.storages._heartbeat"]),
        ("from optuna.study import _optimize", ["optuna.study._optimize"]),
        ("import optuna._callbacks", ["optuna._callbacks"]),
        ("getattr(storage, '_get_stale_trial_ids')", ["getattr(storage, '_get_stale_trial_ids')"]),
        ("setattr(Storage, name, ours)", ["setattr(Storage, name, ours)"]),
        ("import optuna\noptuna.Study.ask = ours", ["optuna.Study.ask"]),
        (
            "import optuna\nclass Storage(optuna.storages.RDBStorage): pass",
            ["class Storage(optuna.storages.RDBStorage)"],
        ),
        ("from optuna.storages import RDBStorage\nclass Own(RDBStorage): pass", ["class Own(RDBStorage)"]),
        ("import os\nos._exit(1)\nstudy.sampler = ours\nself.study.optuna.pruner = ours", []),
    ],
)
def test_the_rule_finds_what_it_is_for(source, names):
    assert found(source) == names
