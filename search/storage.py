"""Storage of a study: SQLite in its folder, or PostgreSQL for several machines; its locks."""

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import filelock
import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from kit import progress
from kit.errors import ConfigError, StorageError
from kit.files import fingerprint
from kit.machine import install_command
from search.trial_queue import experimental, retry

HEARTBEAT_SECONDS = 15
GRACE_SECONDS = 60  # four beats: a swapping machine or a restarting server must not count as dead
PATIENCE_SECONDS = 300.0
SQLITE_TIMEOUT = 60.0

# File systems whose locks SQLite cannot rely on (https://www.sqlite.org/faq.html#q5).
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p", "fuse.sshfs", "beegfs")
_SECRET = re.compile("password|passcode|secret|token", re.IGNORECASE)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Address:
    """URL of a storage, with its password; only `secret` shows that."""

    url: URL

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`.

        Raises ConfigError if it is neither, or the driver is not installed.
        """
        hint = "Wanted: sqlite:///FILE, or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):  # ValueError: the port is no number
            raise ConfigError("The storage is not a URL.", hint) from None  # never quote it: it may hold a password
        kind, _, driver = url.drivername.partition("+")
        if kind not in ("sqlite", "postgresql", "postgres") or driver not in ("", "psycopg"):
            raise ConfigError(f"The storage is of the kind {url.drivername!r}.", hint)
        if kind == "sqlite":
            if url.database in (None, "", ":memory:"):
                raise ConfigError("A study needs a file: SQLite in memory cannot be shared or continued.", hint)
            return cls(url.set(database=os.path.abspath(str(url.database))))  # `show` may run in another folder
        if "@" in (url.database or ""):
            raise ConfigError(
                "The storage is not a URL: its password has characters with a meaning of their own.",
                "Write them with their codes: %40 for @, %2F for /, %3A for :, %25 for %.",
            )
        if secret := sorted(filter(_SECRET.search, url.query)):  # refused: queries are recorded
            raise ConfigError(
                f"The storage cannot have {', '.join(map(repr, secret))} after the question mark.",
                "Give the password as USER:PASSWORD@HOST, or in the environment as PGPASSWORD or PGPASSFILE.",
            )
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise ConfigError(
                "PostgreSQL needs the package psycopg, which is not installed.",
                f"Install it: {install_command('postgres')}",
            ) from None
        return cls(url.set(drivername="postgresql+psycopg"))

    @classmethod
    def of_folder(cls, folder: Path) -> "Address":
        return cls(URL.create("sqlite", database=str(folder / "optuna.db")))

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    __repr__ = __str__

    @property
    def secret(self) -> str:
        """URL with its password, for the storage and the workers alone."""
        return self.url.render_as_string(hide_password=False)

    @property
    def file(self) -> Path | None:
        """SQLite file; None for a server."""
        return Path(str(self.url.database)) if self.url.drivername == "sqlite" else None


def network_drive(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """Kind of network file system that holds a path; None for a local or unknown one."""
    place, best, kind = os.path.realpath(path), "", ""
    with suppress(OSError):
        for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
            _, point, found, *_ = line.split(" ")
            point = point.replace("\\040", " ")
            if len(point) >= len(best) and (place == point or place.startswith(point.rstrip("/") + "/")):
                best, kind = point, found
    return kind if kind in NETWORK else None


# === Opening, and waiting for a server ===


@dataclass
class Connect:
    """Connections to a PostgreSQL server, waiting up to `patience` seconds for one that restarts."""

    url: URL
    patience: float = PATIENCE_SECONDS

    def __call__(self) -> Any:
        import psycopg

        arguments, options = self.url.get_dialect()().create_connect_args(self.url)
        end = time.monotonic() + self.patience
        while True:
            try:
                return psycopg.connect(*arguments, **{"connect_timeout": 10, **options})
            except psycopg.OperationalError:
                if time.monotonic() >= end:
                    raise
                time.sleep(random.uniform(0.2, 1.0))  # spread, not secret


def open_storage(
    address: Address, *, heartbeat: int = HEARTBEAT_SECONDS, grace: int = GRACE_SECONDS, patience: float = 0.0
) -> RDBStorage:
    """Open a storage, creating missing tables.

    Args:
        heartbeat: Seconds between two heartbeats of a running trial.
        grace: Seconds without one after which a trial is stale.
        patience: Seconds to wait for a server that does not answer.

    Raises:
        StorageError: If it is unreachable, denies access, is locked or read-only, or is of another version.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    connect = Connect(address.url, patience)
    if address.file is None:
        options: dict[str, Any] = {"creator": connect, "pool_pre_ping": True}
    else:
        # no pool, so that no connection stays open
        options = {"connect_args": {"timeout": SQLITE_TIMEOUT}, "poolclass": NullPool}
        _require_writable(address.file)
    with storage_errors(address), exclusive(address, "schema", patience), experimental():
        storage = RDBStorage(
            address.secret, options,
            heartbeat_interval=heartbeat, grace_period=grace, heartbeat_stale_trial_callback=retry,
        )  # fmt: skip
    connect.patience = PATIENCE_SECONDS
    return storage


def patiently(call: Callable[[], _T]) -> _T:
    """Repeat a call whose connection was lost half-way; connecting again waits for the server."""
    while True:
        try:
            return call()
        except Exception as error:
            if not is_lost(error):
                raise
            time.sleep(random.uniform(0.1, 0.5))


def is_lost(error: BaseException | None) -> bool:
    """Whether the connection to a server was lost during a call."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__ or error.__context__  # an assertion of Study.optimize hides the error of `tell`
    # class 57 is operator intervention (shutdown, crash), 08 a connection exception
    state = str(getattr(error.orig, "sqlstate", None)) if error is not None else ""
    return state[:2] in ("57", "08") or (error is not None and error.connection_invalidated)


@contextmanager
def exclusive(address: Address, name: str, patience: float = PATIENCE_SECONDS, wait: bool = True) -> Iterator[bool]:
    """Hold a lock against all processes that share the storage; the system frees it when its holder dies.

    `name` becomes part of a file's name on SQLite; `patience` is how many seconds to wait for a server that does not
    answer. Yields whether the lock is held, always True if `wait`.
    """
    if address.file is not None:
        lock = filelock.FileLock(f"{address.file}.{name}.lock", blocking=wait)
        try:
            lock.acquire()
        except filelock.Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
        return
    key = int(fingerprint(name)[:15], 16)
    connect = Connect(address.url, patience)
    engine = sqlalchemy.create_engine(address.url, creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    connection = engine.connect()
    try:
        # Notice a vanished machine after a minute instead of the usual two hours.
        for setting, seconds in (("idle", 30), ("interval", 10), ("count", 3)):
            connection.execute(sqlalchemy.text(f"SET tcp_keepalives_{setting} = {seconds}"))
        function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
        yield connection.scalar(sqlalchemy.text(f"SELECT {function}(:key)"), {"key": key}) is not False
    finally:
        with suppress(DBAPIError):  # a restarted server has released the lock already
            connection.invalidate()
            connection.close()


def _require_writable(file: Path) -> None:
    if file.exists() and not os.access(file, os.W_OK):
        raise StorageError(f"The storage {file} is read-only.", "Make it writable, or give another --storage.")
    if file.is_dir():
        raise StorageError(f"The storage {file} is a folder.", "Name the file to be: sqlite:///FOLDER/optuna.db.")
    if not file.parent.is_dir():
        raise StorageError(f"There is no folder {file.parent} for the storage.", "Make it, or give another --storage.")
    if not os.access(file.parent, os.W_OK):
        raise StorageError(f"The folder {file.parent} is read-only.", "Make it writable, or give another --storage.")
    kind = network_drive(file.parent)
    if kind is not None:
        progress.say(
            f"warning: {file} lies on a network drive ({kind}), where SQLite can lose trials: begin the study in a "
            "local folder (`transferkit study run --out FOLDER`), or on PostgreSQL (--storage) for several machines."
        )


@contextmanager
def storage_errors(address: Address) -> Iterator[None]:
    """Turn every database error into a StorageError with one message, without the password."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "optuna" not in str(error):
            raise
        raise StorageError(*_in_words(address, error)) from error


# Part of a database's message -> error text, hint.
_WORDS = {
    "password authentication|no password": ("does not accept the user name and password", "Correct them in --storage."),
    "database .*does not exist": ("is a database that does not exist", "Make it first: `createdb NAME`."),
    "locked": ("is locked by another program", "End what holds it, then run the same command again."),
    "read-?only": ("is read-only", "Make it writable, or give another --storage."),
    "not a database|malformed": ("is not a SQLite database, or damaged", "Restore it, or give another --storage."),
    "upgrade|compatible": ("was made by another Optuna", "`optuna storage upgrade --storage URL` may help."),
}


def _in_words(address: Address, error: BaseException) -> tuple[str, str]:
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, DBAPIError):
        cause = cause.__cause__
    said = str(cause.orig if isinstance(cause, DBAPIError) else cause).strip()
    for words, (what, hint) in _WORDS.items():
        if re.search(words, said, re.IGNORECASE):
            return f"{address} {what}.", hint
    line = (said.splitlines() or [type(cause).__name__])[0]
    if address.url.password:
        line = line.replace(str(address.url.password), "***")
    hint = "Check the address, and that the server runs and lets this machine in."
    return f"{address} cannot be reached: {line}.", hint
