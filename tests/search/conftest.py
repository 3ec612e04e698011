"""Workers find the objectives of the tests, and no test waits as long for a dead server as a person would."""

import os
import sqlite3
import tempfile
from pathlib import Path

import pytest
import sqlalchemy

from in_process import _loud, command, refused  # noqa: F401  # fixtures


@pytest.fixture(autouse=True)
def _importable_objectives(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]]))


@pytest.fixture(autouse=True, scope="session")
def _quick_sqlite():
    """SQLite in this process does not wait for the disk: tests end processes, not the machine."""

    def connected(connection, record):
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Pool, "connect", connected)
    yield
    sqlalchemy.event.remove(sqlalchemy.Pool, "connect", connected)


@pytest.fixture(autouse=True)
def _closed():
    yield
    from studies import OPENED

    while OPENED:
        OPENED.pop().close()


@pytest.fixture(scope="session")
def postgres_binaries() -> Path:
    """The folder of initdb and pg_ctl; `nox -s postgres` names it in POSTGRES_BINARIES."""
    named = os.environ.get("POSTGRES_BINARIES")
    if not named:
        pytest.skip("needs a PostgreSQL server's programs: run `nox -s postgres`")
    return Path(named)


@pytest.fixture
def server(postgres_binaries):
    """A PostgreSQL server that runs while the test does.

    Not in `tmp_path`: each pytest that starts closes the folder above it, and the server is another user.
    """
    from server import Server

    with tempfile.TemporaryDirectory(prefix="transferkit-postgres-") as folder:
        running = Server(Path(folder) / "data", postgres_binaries)
        running.start()
        yield running
        running.stop()
