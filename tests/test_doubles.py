"""No test replaces a function of ours by one that takes other arguments: `doubles.swap` holds it to the signature."""

import ast
from pathlib import Path

import pytest

from doubles import swap
from kit import files

TESTS = Path(__file__).parent
OURS = ("kit", "search", "reports", "starter")
FILES = sorted(path for path in TESTS.rglob("*.py") if path.name != "doubles.py")


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in OURS


def replaced_unchecked(tree: ast.Module) -> list[str]:
    """Calls of `setattr` that put a function or class of the test's in the place of something of ours."""
    ours = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if is_ours(getattr(node, "module", None) or alias.name)
    }
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "setattr" or len(call.args) < 2:
            continue
        owner, value = call.args[0], call.args[-1]
        root = ast.unparse(owner).strip("'\"").partition(".")[0]
        there_before = not any(keyword.arg == "raising" for keyword in call.keywords)
        unchecked = isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in own)
        if (root in ours or is_ours(root)) and there_before and unchecked:
            found.append(f"line {call.lineno}: {ast.unparse(call)}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_what_stands_for_ours_has_its_signature(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert replaced_unchecked(tree) == [], "write swap(monkeypatch, owner, name, function)"
    mocks = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "unittest.mock"]
    assert {alias.name for node in mocks for alias in node.names} <= {"create_autospec"}


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("patch.setattr(files, 'free_bytes', lambda path: 0)", True),
        ("patch.setattr('kit.files.free_bytes', lambda path: 0)", True),
        ("patch.setattr(files, 'free_bytes', stand_in)", True),
        ("patch.setattr(files, 'open', stand_in, raising=False)", False),
        ("patch.setattr(files, 'LIMIT', 3)", False),
        ("patch.setattr(os, 'fsync', stand_in)", False),
    ],
)
def test_the_rule_sees(line, refused):
    tree = ast.parse(f"import os\nfrom kit import files\ndef stand_in(): pass\n{line}")
    assert bool(replaced_unchecked(tree)) == refused


def test_a_call_that_the_original_would_refuse_is_refused(monkeypatch):
    swap(monkeypatch, files, "free_bytes", lambda *anything: 7)
    assert files.free_bytes(Path()) == 7
    with pytest.raises(TypeError, match="too many positional arguments"):
        files.free_bytes(Path(), 8)
