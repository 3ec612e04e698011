"""The arrows of docs: which part of the house may import which, read from the source, nothing imported."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for part in ("kit", "search", "reports") for path in (ROOT / part).rglob("*.py"))

# Lower numbers know nothing of higher ones; the first prefix that matches counts.
LAYERS = [
    ("kit.errors kit.files kit.config kit.progress", 0),
    ("kit.machine kit.backends.choice", 0),
    ("kit.model.catalog", 0),  # a table: settings look up what a backbone brings
    ("kit.stage_clock kit.significance", 0),
    ("kit.evaluation kit.cache kit.settings kit.setting_table kit.csv_tables kit.training.history", 1),
    ("kit.data kit.backends kit.parts", 2),
    ("kit.model", 3),
    ("kit.training", 4),
    ("kit.commands kit.cli search.commands search.demo", 7),
    ("kit", 5),
    ("search", 6),
]
FOR_REPORTS = (
    "kit.run",
    "kit.csv_tables",
    "kit.data.corrections",
    "kit.insights",
    "kit.training.history",
    "kit.significance",
    "kit.thresholds",
    "kit.files",
    "kit.errors",
    "search.records",
    "search.importance",
)
BACKENDS = {"keras", "jax", "tensorflow", "torch"}
PYTHON_API = {"train", "resume", "evaluate", "configure", "load_run"}  # lazy attributes of `kit`


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(tree):
    """(module or module.name, whether it happens on import) of every import statement."""
    top = {id(node) for node in ast.walk(tree)} - {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) or is_type_checking(outer)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            yield from ((f"{node.module}.{alias.name}", id(node) in top) for alias in node.names)


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def under(name, prefixes):
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def layer(name):
    return next((number for prefixes, number in LAYERS if under(name, prefixes.split())), None)


def of(part):
    return [pytest.param(path, id=module_name(path)) for path in FILES if under(module_name(path), [part])]


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", of("kit") + of("search"))
def test_arrows_run_one_way(path):
    own = layer(module_name(path))
    names = {name for name, _ in imported(parsed(path))}
    assert [name for name in names if (layer(name) or 0) > own] == []
    assert [name for name in names if under(name, ["reports"])] == []


def test_no_imports_in_circles():
    """Imports inside functions included; those for annotations alone left out."""
    modules = {module_name(path): path for path in FILES}
    graph = {
        name: {target for found, _ in imported(run_time(path)) if (target := resolved(found, modules)) != name}
        for name, path in modules.items()
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert order.index("kit.errors") < order.index("kit.pipeline")


def run_time(path):
    tree = parsed(path)
    tree.body = [node for node in tree.body if not is_type_checking(node)]
    return tree


def resolved(name, modules):
    """The module of `a.b.name`: itself, or a.b where it is something inside; `kit.errors` for what is not ours."""
    parent = name.rpartition(".")[0]
    return next((found for found in (name, parent) if found in modules), "kit.errors")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_core_knows_no_drawn_images(path):
    """The demo and `demo-data` draw; the recipe of the starter weights is no part of the package."""
    names = {name for name, _ in imported(parsed(path))}
    assert [name for name in names if under(name, ["starter"])] == []
    if not under(module_name(path), ["kit.synthetic", "search.demo"]):
        assert [name for name in names if under(name, ["kit.synthetic", "search.demo"])] == []


@pytest.mark.parametrize("path", of("reports"))
def test_reports_read_only_records_and_know_no_backend(path):
    names = {name for name, _ in imported(parsed(path))}
    modules = {module_name(path): path for path in FILES}
    ours = {resolved(name, modules) for name in names if under(name, ["kit", "search", "reports"])}
    assert [name for name in ours if name not in FOR_REPORTS and not under(name, ["reports"])] == []
    assert [name for name in names if name.partition(".")[0] in BACKENDS] == []


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=module_name)
def test_importing_a_package_imports_no_backend(path):
    """Neither itself nor by what it imports on the way."""
    seen, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        seen.add(current)
        for name in [name for name, on_import in imported(parsed(current)) if on_import]:
            assert name.partition(".")[0] not in BACKENDS, f"{module_name(current)} imports {name}"
            waiting += [file for file in files_of(name) if file not in seen]


def files_of(name):
    """Source files that importing `a.b.c` runs: a/__init__.py, a/b/__init__.py, a/b/c.py or a/b.py."""
    parts = name.split(".")
    tries = [ROOT.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
    return [file for base in tries for file in (base / "__init__.py", base.with_suffix(".py")) if file in FILES]


@pytest.mark.parametrize("part", ["kit", "search"])
def test_no_two_modules_of_a_package_have_one_name(part):
    """`backends/` aside, where the same protocol has a module for each backend."""
    names = [path.name for path in FILES if under(module_name(path), [part]) and path.name != "__init__.py"]
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_a_class_name_means_one_thing():
    homes = {}
    for path in FILES:
        for node in (node for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)):
            homes.setdefault(node.name, set()).add(module_name(path))
    assert {name: sorted(places) for name, places in homes.items() if len(places) > 1} == {}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_house_rules(path):
    assert path.stem not in PYTHON_API or path.parent.name != "kit", f"`kit.{path.stem}` is a function"
    for call in (node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)):
        function = ast.unparse(call.func)
        if function.rpartition(".")[2].startswith("suggest_"):
            assert module_name(path) == "search.space", f"line {call.lineno}: only search/space.py suggests"
        if function in ("np.load", "numpy.load"):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert given.get("allow_pickle") == "False", f"line {call.lineno}: np.load could run code"


# Each would run code that a file brings; `keras.saving.load_model` does not where the file was looked at before.
READS_TENSORS = "kit.model.torch_file"  # derives an unpickler that finds tensors alone
RUNS_CODE = {"eval", "exec", "compile", "pickle.load", "pickle.loads", "joblib.load", "yaml.load", "marshal.loads"}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_file_can_bring_code(path):
    tree = parsed(path)
    forbidden = ["joblib", "dill", "marshal", "shelve", *(["pickle"] if module_name(path) != READS_TENSORS else [])]
    assert [name for name, _ in imported(tree) if under(name, forbidden)] == []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = ast.unparse(call.func)
        assert function not in RUNS_CODE, f"line {call.lineno}"
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("safe_mode", "True") == "True", f"line {call.lineno}: safe_mode stays on"
        assert given.get("allow_pickle", "False") == "False", f"line {call.lineno}"
        if function.endswith(("saving.load_model", "models.load_model")):
            assert module_name(path) == "kit.model.loading", f"line {call.lineno}: kit.model.loading loads models"


def test_the_only_unpickler_decides_itself_what_it_finds():
    tree = parsed(ROOT / "kit" / "model" / "torch_file.py")
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {name for name in used if name.startswith("pickle.")} == {"pickle.Unpickler"}
    (unpickler,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.bases)
    assert {"find_class", "persistent_load"} <= {one.name for one in unpickler.body if isinstance(one, ast.FunctionDef)}
    assert "super().find_class" not in used
