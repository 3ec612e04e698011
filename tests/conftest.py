"""One backend a process, a home and a cache of their own, and the fixtures that every test file shares."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

CHILDREN = str(Path(__file__).with_name("children"))  # what a Python that a test starts finds by PYTHONPATH
sys.path.append(CHILDREN)
# Keras and TensorFlow read these at import, and test files import Keras while pytest collects them: set them first.
HOME = tempfile.mkdtemp(prefix="transferkit-tests-")
os.environ["KERAS_HOME"] = HOME
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # as transferkit sets it where it imports TensorFlow first
# Most tests compile the same few programs, in processes of their own, pytest's workers among them: once is enough.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(HOME, "compiled")
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(4 * 2**30)  # with a limit, JAX locks the folder
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
# "" where no backend is installed: what needs one is marked `backend` and left out.
INSTALLED = filter(find_spec, ("jax", "tensorflow", "torch"))
BACKEND = os.environ.get("KERAS_BACKEND") or next(INSTALLED, "")
if BACKEND:
    os.environ["KERAS_BACKEND"] = BACKEND
# The files that take longest run first, so that one worker does not end long after the other.
LONGEST = (
    *("training/test_exactness.py", "export/test_export.py", "hub/test_hub_backbones.py", "test_benchmarks.py"),
    *("test_docs_run.py", "model/test_kernels.py", "training/test_resume.py", "search/test_study_command.py"),
    *("search/test_trial.py", "test_starter_recipe.py", "reports/test_real.py", "training/test_memory.py"),
    *("search/test_demo.py", "training/test_phases.py", "commands/test_train_command.py", "test_api.py"),
    *("test_cross_validation.py", "test_library_use.py", "model/test_classifier.py", "insights/test_insights.py"),
    *("search/test_kills.py", "commands/test_in_the_images_folder.py", "training/test_batches.py"),
)
NEEDS_BACKEND = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.backend\b", re.MULTILINE)

REAL_DATA = os.environ.get("TRANSFERKIT_REAL_DATA", "")
NO_REAL_DATA = "needs real images: set TRANSFERKIT_REAL_DATA to the folder that holds flowers/ and weights/"

# No deadline: a first example pays for imports and compilation. Derandomised: a red run is red again when repeated.
settings.register_profile("kit", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("kit")


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory):
    """No setting of the person who runs the tests reaches them; session fixtures see the same environment as tests.

    What tests start finds transferkit and the toy backbone by PYTHONPATH.
    """
    import kit

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TRANSFERKIT_")]:
            patch.delenv(name)
        patch.setenv("TRANSFERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        places = (str(Path(kit.__file__).resolve().parents[1]), CHILDREN, os.environ.get("PYTHONPATH"))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
        yield


@pytest.fixture(scope="session")
def needs_backend():
    """For fixtures that need JAX or TensorFlow: every test that uses one is marked `backend`."""


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """A folder of three classes with 24 images each; never write into it."""
    from image_files import make_images

    return make_images(tmp_path_factory.mktemp("photos"), ("blue", "green", "red"), 24)


@pytest.fixture(scope="session")
def lively_weights(needs_backend, tmp_path_factory) -> Path:
    """Weights of a random MobileNetV2 0.35 that tells images apart."""
    from networks import save_lively_weights

    return save_lively_weights(tmp_path_factory.mktemp("weights") / "lively.weights.h5")


@pytest.fixture(scope="session")
def toy_weights(needs_backend, tmp_path_factory) -> Path:
    """The same of the toy backbone, which the catalog then knows: tests/children/toy.py."""
    import toy

    from networks import save_lively_weights

    return save_lively_weights(tmp_path_factory.mktemp("weights") / "toy.weights.h5", backbone=toy.use(), alpha=1.0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds the real flowers/ and weights/."""
    if not REAL_DATA:
        pytest.skip(NO_REAL_DATA)
    folder = Path(REAL_DATA).expanduser().resolve()
    missing = [name for name in ("flowers", "weights") if not (folder / name).is_dir()]
    if missing:
        pytest.fail(f"TRANSFERKIT_REAL_DATA is {folder}, which has no folder {' or '.join(missing)}", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def run_python(tmp_path_factory):
    """Runs Python in a process of its own: `run_python("-c", code, env={...}, cwd=...)`.

    `env` is added to the environment (None removes a name). The working folder is a temporary one, so that default
    output folders land there. Returns the CompletedProcess, with text.
    """
    home = tmp_path_factory.mktemp("cwd")

    def run(*args, env=None, cwd=None, timeout=300, **options) -> subprocess.CompletedProcess:
        given = {**os.environ, "COLUMNS": "120", "PYTHONIOENCODING": "utf-8", **(env or {})}
        environment = {name: str(value) for name, value in given.items() if value is not None}
        options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, **options}
        command = [sys.executable, *map(str, args)]
        return subprocess.run(command, env=environment, cwd=cwd or home, timeout=timeout, check=False, **options)

    return run


@pytest.fixture(scope="session")
def run_cli(run_python):
    """Runs the command line like `run_python`: `run_cli("train", folder, "--json", env={...}, cwd=...)`."""
    return lambda *args, **options: run_python("-m", "kit.cli", *args, **options)


@pytest.fixture
def quick_jax(monkeypatch):
    """JAX compiles fast rather than well, here and in child processes: for tests of what stands around the numbers."""
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if BACKEND != "jax":
        yield
        return
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def web(monkeypatch):
    """A web server on this machine that can be told to misbehave (tests/web.py); no proxy stands before it."""
    from web import WebServer

    monkeypatch.setenv("no_proxy", "*")
    with WebServer() as server:
        yield server


def pytest_ignore_collect(collection_path):
    """Leaves out files that need a backend, and may import it, where there is none."""
    if not BACKEND and collection_path.suffix == ".py":
        return bool(NEEDS_BACKEND.search(collection_path.read_text(encoding="utf-8"))) or None
    return None


def pytest_itemcollected(item):
    if "needs_backend" in getattr(item, "fixturenames", ()):
        item.add_marker("backend")
    for mark in item.iter_markers("once"):
        if mark.kwargs.get("backend") not in ("jax", "tensorflow"):
            raise pytest.UsageError(f"{item.nodeid}: the mark `once` names no backend that nox has a session for")


def pytest_collection_modifyitems(items):
    """Skips what cannot run before any fixture of it is built, and brings the longest files to the front."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))
    for item in items:
        if not REAL_DATA and item.get_closest_marker("real"):
            item.add_marker(pytest.mark.skip(reason=NO_REAL_DATA))
        if not BACKEND and item.get_closest_marker("backend"):
            item.add_marker(pytest.mark.skip(reason="needs a backend, and none is installed"))


def pytest_report_header():
    return f"keras backend: {BACKEND or 'none'}"


def pytest_terminal_summary(terminalreporter):
    skipped = [
        report for report in terminalreporter.stats.get("skipped", []) if "real" in getattr(report, "keywords", ())
    ]  # a module skipped whole has none
    line = f"Keras backend: {BACKEND or 'none'}."
    if skipped:
        line += f" Skipped for lack of TRANSFERKIT_REAL_DATA (real images and weights): {len(skipped)}."
    terminalreporter.write_line(line)


def pytest_unconfigure():
    shutil.rmtree(HOME, ignore_errors=True)
