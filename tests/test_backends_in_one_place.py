"""Only kit/backends names a backend, and each of its modules offers the whole protocol. Read from the source."""

import ast
import inspect

import pytest

from kit import backends
from kit.backends.choice import BACKENDS
from kit.backends.protocol import Backend
from test_architecture import FILES, imported, module_name, parsed, under

NAMES = set(BACKENDS)
# Packages to install, and formats of models: which backend a format needs is data of the format.
EXCEPTIONS = {
    "kit.export.formats": "what each format needs to be installed, and the example that its user runs",
    "kit.export.precision": "LiteRT's converter takes TensorFlow's constants",
    "kit.export.tfjs_graph": "a graph of TensorFlow.js is one of TensorFlow, its variables made constants",
    "kit.machine": "the packages of each extra of pyproject.toml, some of which are named after backends",
    "kit.model.torch_file": "a file of torch names what it consists of; torch is not imported",
    "kit.export.parity": "a SavedModel's own runtime is TensorFlow",
}


def is_name(node) -> bool:
    """Whether an expression is, or holds in a tuple, list or set, a backend's name."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(map(is_name, node.elts))
    return isinstance(node, ast.Constant) and node.value in NAMES


def named(tree) -> list[str]:
    """Every place of a module that imports a backend, or depends on the name of one."""
    found = [name for name, _ in imported(tree) if name.partition(".")[0] in NAMES]
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(function).endswith(("import_module", "__import__")) and name.partition(".")[0] in NAMES:
                    found.append(ast.unparse(node))
            case ast.Compare(left=left, comparators=others):
                if any(map(is_name, [left, *others])):
                    found.append(ast.unparse(node))
            case ast.Dict(keys=keys):
                found += [f"{{{key.value!r}: ...}}" for key in keys if key is not None and is_name(key)]
            case ast.Subscript(slice=key):
                found += [ast.unparse(node)] if is_name(key) else []
            case ast.MatchValue(value=value) if is_name(value):
                found.append(f"case {ast.unparse(value)}")
            case ast.Assign(value=value) | ast.AnnAssign(value=value) | ast.keyword(value=value) if is_name(value):
                found.append(ast.unparse(node))
            case ast.Call(func=ast.Attribute(attr="backend")):
                if ast.unparse(node) in ("keras.backend.backend()", "keras.config.backend()"):
                    found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", [path for path in FILES if not under(module_name(path), ["kit.backends"])], ids=str)
def test_no_other_module_names_a_backend(path):
    if module_name(path) in EXCEPTIONS:
        assert named(parsed(path)), "an exception that is needed no more"
    else:
        assert named(parsed(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import jax.numpy as jnp",
        "def f():\n    from tensorflow import keras",
        "import importlib\nimportlib.import_module('torch.nn')",
        "x = name == 'jax'",
        "x = name not in ('numpy', 'tensorflow')",
        "table = {'jax': 1}",
        "x = table['torch']",
        "match name:\n    case 'jax':\n        pass",
        "call(backend='tensorflow')",
        "name = keras.backend.backend()",
        "NAMES = ('jax', 'tensorflow')",
    ],
)
def test_every_way_of_naming_one_is_seen(code):
    assert named(ast.parse(code)) != []


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_offers_the_whole_protocol(name):
    """With the protocol's own parameters; looked at without importing the backend."""
    module = backends.find(name)
    for method, wanted in inspect.getmembers(Backend, inspect.isfunction):
        if not method.startswith("_"):
            parameters = [*inspect.signature(wanted).parameters.values()][1:]
            assert [*inspect.signature(getattr(module, method)).parameters.values()] == parameters, method
    assert all(hasattr(module, attribute) for attribute in Backend.__annotations__)
