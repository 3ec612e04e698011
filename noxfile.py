"""All checks, each in an environment of its own: `pip install nox && nox`.

    tests(jax), tests(tensorflow)   the suite, once a backend, against the installed package
    parity                          both backends in one environment: trained on one, loaded on the other
    browser                         the pages in headless Chromium (on PATH, or named by CHROMIUM); axe-core from npm
    export                          every export format in its runtime, and KerasHub, once a backend
    postgres                        studies on a PostgreSQL server of their own, from the system's programs
    package                         sdist and wheel; the wheel in an empty environment, where it runs the demo twice
    lint                            ruff: rules and format
    types                           mypy
    python_versions                 not by default: the suite on every supported Python that is on this machine

`nox -R` runs again without making the environments anew. Real-data tests run where TRANSFERKIT_REAL_DATA is set.
What follows `--` goes to pytest: `nox -R -s "tests(jax)" -- -k weights`.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests", "parity", "browser", "export", "postgres", "package"]
# Under CI=true nox would fail where an interpreter of python_versions is missing; so it says "skipped" there as well.
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")["project"]
KILL_SECONDS = 1800  # of a demo that hangs; what it takes is printed
# Two workers, each a process of one backend; a file's tests stay together, for they share what they trained.
WORKERS = ("-n", "2", "--dist", "loadfile")
BACKENDS = [nox.param(name, id=name) for name in ("jax", "tensorflow")]
# Minor versions are pinned: a new one finds new faults in old code, and that should be a change of its own.
RUFF, MYPY, AXE = "ruff==0.17.*", "mypy==2.4.*", "axe-core@4"


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and format."""
    session.install(RUFF)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, with the packages that ours is built on; of the backends, only JAX is published with types."""
    session.install(MYPY, *PROJECT["dependencies"], *PROJECT["optional-dependencies"]["jax"])
    session.run("mypy")


@nox.session
@nox.parametrize("backend", BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """The suite on one backend, with the other one not installed."""
    _test_one_backend(session, backend)


@nox.session
def parity(session: nox.Session) -> None:
    """What holds between the backends."""
    _install(session, "jax,tensorflow,test")
    session.run("pytest", "tests/parity", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The pages in headless Chromium, drawn from records made by hand; skipped where there is no Chromium."""
    if not (os.environ.get("CHROMIUM") or shutil.which("chromium")) or not shutil.which("npm"):
        session.skip("there is no Chromium, or no npm: install both; CHROMIUM may name the former")
    _install(session, "jax,test,browser")
    folder = session.create_tmp()
    session.run("npm", "install", "--silent", "--prefix", folder, AXE, external=True)
    axe = os.path.join(os.path.abspath(folder), "node_modules", "axe-core", "axe.min.js")
    session.run(
        "pytest", "tests/reports/test_browser.py", *session.posargs, env={"KERAS_BACKEND": "jax", "AXE_CORE": axe}
    )


@nox.session
def export(session: nox.Session) -> None:
    """Exports and KerasHub, whose extras the other sessions lack, on each backend."""
    _install(session, "jax,tensorflow,hub,export,test")
    for backend in ("jax", "tensorflow"):
        session.run("pytest", *WORKERS, "tests/export", "tests/hub", *session.posargs, env={"KERAS_BACKEND": backend})


@nox.session
def postgres(session: nox.Session) -> None:
    """Studies on PostgreSQL: the tests start and stop servers; where they are root, as another user."""
    folder = _postgres_binaries()
    if folder is None:
        session.skip("there are no PostgreSQL programs (initdb, pg_ctl): install the system's server package")
    _install(session, "test,postgres")
    # tests/conftest.py wants a backend's name; none of these tests imports it
    environment = {"POSTGRES_BINARIES": str(folder), "KERAS_BACKEND": "jax"}
    session.run("pytest", "-m", "postgres", "tests/search/test_postgres.py", *session.posargs, env=environment)


@nox.session
def package(session: nox.Session) -> None:
    """Builds sdist and, from it, wheel; installs the wheel alone, and runs the demo in an empty folder, twice."""
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    session.install("build", "twine")
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"), str(Path.cwd()))
    (wheel,), (source,) = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(wheel), str(source))
    python = folder / "empty" / ("Scripts" if os.name == "nt" else "bin")
    session.run("python", "-m", "venv", str(folder / "empty"))
    session.run(str(python / "python"), "-m", "pip", "install", "--quiet", f"{wheel}[jax]", external=True)
    (folder / "here").mkdir()
    # Of the environment: no settings, no store and no compiled program of an earlier run.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("TRANSFERKIT_", "PYTHON", "JAX_"))}
    own |= {"TRANSFERKIT_CACHE": str(folder / "cache"), "KERAS_HOME": str(folder / "keras"), "KERAS_BACKEND": "jax"}
    for turn in ("first", "second"):
        started = time.monotonic()
        done = subprocess.run(
            [str(python / "transferkit"), "demo"], cwd=folder / "here", env=own, stdout=subprocess.PIPE, text=True,
            timeout=KILL_SECONDS,
        )  # fmt: skip
        session.log(f"The {turn} demo took {time.monotonic() - started:.0f} s:\n{done.stdout}")
        pages = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("Page: ")]
        if done.returncode or len(pages) != 4 or not all((folder / "here" / page).stat().st_size for page in pages):
            session.error(f"The {turn} demo ended with status {done.returncode} and {len(pages)} pages of 4.")


def _postgres_binaries() -> Path | None:
    """The folder of initdb and pg_ctl: that of POSTGRES_BINARIES, of the path, or where packages put the newest."""
    if named := os.environ.get("POSTGRES_BINARIES"):
        return Path(named)
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    packaged = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    newest = sorted(packaged, key=lambda path: [int(part) for part in path.parent.name.split("-") if part.isdigit()])
    return newest[-1] if newest else None


@nox.session(python=["3.11", "3.12", "3.13"], default=False)
@nox.parametrize("backend", BACKENDS)
def python_versions(session: nox.Session, backend: str) -> None:
    """The suite on one backend and one Python."""
    _test_one_backend(session, backend)


def _test_one_backend(session: nox.Session, backend: str) -> None:
    _install(session, f"{backend},test")
    other = "tensorflow" if backend == "jax" else "jax"
    absent = f"import importlib.util as u; assert not u.find_spec('{other}'), '{other} is installed here'"
    session.run("python", "-c", absent)
    # those have sessions of their own, with what they need installed
    ignored = [f"--ignore=tests/{folder}" for folder in ("parity", "export", "hub")]
    session.run("pytest", *WORKERS, *ignored, *session.posargs, env={"KERAS_BACKEND": backend})


def _install(session: nox.Session, extras: str) -> None:
    # setuptools builds in build/ and packs whatever an earlier build left there, modules deleted since included.
    shutil.rmtree("build", ignore_errors=True)
    # Not editable: so the tests see what a user gets, package data included. `pytest`, unlike `python -m pytest`,
    # leaves the checkout off the path.
    session.install(f".[{extras}]")
