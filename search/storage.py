"""Where a study is kept: SQLite in its folder, or one PostgreSQL for several machines. Optuna's tables, untouched.

What is added to Optuna's own storage: a lock that holds across processes and machines, calls that wait out a server
that is restarting, and messages that a person can act on. `optuna-dashboard` and `optuna` read the result as it is.
"""

import functools
import hashlib
import os
import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import filelock
import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from kit import progress
from kit.errors import ConfigError, StorageError

HEARTBEAT_SECONDS = 15
GRACE_SECONDS = 60  # four beats: a machine that swaps or a server that restarts must not look like a death
PATIENCE_SECONDS = 300.0  # how long a worker waits for a server that has gone away
SQLITE_TIMEOUT = 60.0

# File systems whose locks SQLite cannot rely on (https://www.sqlite.org/faq.html#q5).
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p", "fuse.sshfs", "beegfs")
# Options of a PostgreSQL URL that may be shown; `password` and `sslpassword` are not among them.
_SHOWN_OPTIONS = {
    "application_name", "channel_binding", "connect_timeout", "gssencmode", "host", "hostaddr", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname", "options", "passfile", "port",
    "service", "sslcert", "sslcompression", "sslcrl", "sslkey", "sslmode", "sslrootcert", "target_session_attrs",
    "tcp_user_timeout", "user",
}  # fmt: skip
_LOST = (
    "connection", "terminating", "shutting down", "starting up", "recovery mode", "server closed", "timeout expired",
)  # fmt: skip

_T = TypeVar("_T")


class Disconnected(Exception):
    """The server went away in the midst of a call; whether the call took effect is not known."""


class Storage(optuna.storages.RDBStorage):
    """Optuna's relational storage, with patience.

    Every call that may be repeated without harm is repeated while the server is away. Creating a trial is not: it
    raises Disconnected, and who asked for the trial finds out what there is (`search.workers`).
    """

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        self.remove_session()
        self.engine.dispose()

    def get_heartbeat_interval(self) -> int | None:
        """None, although hearts beat: Optuna would warn that they only do in `Study.optimize`; ours do in workers."""
        return None

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        """As Optuna's; a repeated call that finds its own effect succeeds."""
        for attempt in self._attempts():
            with attempt:
                try:
                    return super().set_trial_state_values(trial_id, state, values)
                except UpdateFinishedTrialError:
                    if attempt.number and self.get_trial(trial_id).state == state:
                        return True
                    raise
        raise AssertionError("attempts end by returning or raising")

    def _attempts(self) -> "Iterator[_Attempt]":
        begun, number = time.monotonic(), 0
        while True:
            yield _Attempt(number, begun)
            number += 1

    def _create_new_trial(self, study_id: int, template_trial: Any = None) -> Any:
        try:
            return super()._create_new_trial(study_id, template_trial)
        except StorageInternalError as error:
            if is_lost(error):
                raise Disconnected from error
            raise


def _patient(name: str) -> Callable[..., Any]:
    original = getattr(optuna.storages.RDBStorage, name)

    @functools.wraps(original)
    def call(self: Storage, *args: Any, **options: Any) -> Any:
        for attempt in self._attempts():
            with attempt:
                return original(self, *args, **options)
        raise AssertionError("attempts end by returning or raising")

    return call


for _name in (
    "set_study_user_attr", "set_study_system_attr", "get_study_id_from_name", "get_study_directions",
    "get_study_user_attrs", "get_study_system_attrs", "get_all_studies", "_set_trial_param", "set_trial_param",
    "set_trial_intermediate_value", "set_trial_user_attr", "set_trial_system_attr", "get_trial", "get_all_trials",
    "_get_trials", "record_heartbeat", "_get_stale_trial_ids", "get_trial_id_from_study_id_trial_number",
):  # fmt: skip
    setattr(Storage, _name, _patient(_name))


class _Attempt:
    """One try of a call; swallows a lost connection, after a pause, until patience is at its end."""

    def __init__(self, number: int, begun: float):
        self.number, self.begun = number, begun

    def __enter__(self) -> "_Attempt":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None or not is_lost(error) or time.monotonic() - self.begun > PATIENCE_SECONDS:
            return False
        time.sleep(min(0.2 * 2**self.number, 5.0) * (0.5 + random.random()))  # spread, not secret
        return True


def is_lost(error: BaseException) -> bool:
    """Whether an error says that the server is away, or SQLite busy, rather than that the call was wrong."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Disconnected):
            return True
        if isinstance(cause, DBAPIError):
            text = str(cause.orig).lower()
            if "authentication" in text:
                return False
            return bool(cause.connection_invalidated) or any(word in text for word in _LOST)
        cause = cause.__cause__
    return False


# === Addresses ===


@dataclass(frozen=True)
class Address:
    """A storage's URL.

    Attributes:
        url: With its password; never to be shown or written.
    """

    url: URL

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Reads `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`.

        Raises:
            ConfigError: If it is neither, or the driver is not installed.
        """
        hint = "Wanted: sqlite:///FILE, or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):  # the latter for a port that is no number
            raise ConfigError("The storage is not a URL.", hint) from None  # not quoted: it may hold a password
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
        if secret := sorted(
            set(url.query) - _SHOWN_OPTIONS
        ):  # not quoted, nor let through: it would be shown, and written down
            raise ConfigError(
                f"The storage cannot have {', '.join(map(repr, secret))} after the question mark.",
                "Give the password as USER:PASSWORD@HOST, or in the environment as PGPASSWORD or PGPASSFILE.",
            )
        _require_psycopg()
        return cls(url.set(drivername="postgresql+psycopg"))

    @classmethod
    def of_folder(cls, folder: Path) -> "Address":
        """The SQLite file in a study's folder."""
        return cls(URL.create("sqlite", database=str(folder / "optuna.db")))

    def __str__(self) -> str:
        """The URL with its password masked."""
        return self.url.render_as_string(hide_password=True)

    __repr__ = __str__

    @property
    def secret(self) -> str:
        """The URL as it is, for the storage and the workers alone."""
        return self.url.render_as_string(hide_password=False)

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for a server."""
        return Path(str(self.url.database)) if self.url.drivername == "sqlite" else None


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise ConfigError(
            "PostgreSQL needs the package psycopg, which is not installed.",
            "Install it: pip install 'transferkit[postgres]'.",
        ) from None


def network_drive(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The kind of network file system that holds a path; None for a local one, or where the system does not tell."""
    place = os.path.realpath(path)
    best, kind = "", ""
    with suppress(OSError):
        for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
            _, point, found, *_ = line.split(" ")
            point = point.replace("\\040", " ")
            if len(point) >= len(best) and (place == point or place.startswith(point.rstrip("/") + "/")):
                best, kind = point, found
    return kind if kind in NETWORK else None


# === Opening ===


def open_storage(
    address: Address, *, heartbeat: int = HEARTBEAT_SECONDS, grace: int = GRACE_SECONDS, patience: float = 0.0
) -> Storage:
    """Opens a storage and makes its tables, once, where there are none.

    Args:
        address: Where.
        heartbeat: Seconds between two signs of life of a running trial.
        grace: Seconds without one after which its worker counts as dead.
        patience: Seconds to wait for a server that is away; 0 says at once that it is.

    Raises:
        StorageError: If it cannot be reached, does not let us in, is locked or read-only, or is of another version.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options: dict[str, Any] = {"connect_args": {"connect_timeout": 10}, "pool_pre_ping": True}
    if address.file is not None:
        # no pool: a connection that is kept open is one that somebody must remember to close
        options = {"connect_args": {"timeout": SQLITE_TIMEOUT}, "poolclass": NullPool}
        _require_writable(address.file)
    begun = time.monotonic()
    while True:
        try:
            return _open(address, options, heartbeat, grace)
        except StorageError as error:
            if not is_lost(error) or time.monotonic() - begun >= patience:
                raise
            time.sleep(1.0)


def _open(address: Address, options: dict[str, Any], heartbeat: int, grace: int) -> Storage:
    with storage_trouble(address), exclusive(address, "transferkit schema"), warnings.catch_warnings():
        # Heartbeats have been marked experimental since Optuna 2.9; they are what tells a dead worker from a slow one.
        warnings.filterwarnings("ignore", message=".*heartbeat_interval.*experimental.*")
        return Storage(address.secret, options, heartbeat_interval=heartbeat, grace_period=grace)


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
            f"warning: {file} lies on a network drive ({kind}), where SQLite can lose trials: use a local folder "
            "(--out), or PostgreSQL (--storage) for several machines."
        )


@contextmanager
def storage_trouble(address: Address) -> Iterator[None]:
    """Turns what databases say into one message, without the password.

    Raises:
        StorageError: For whatever the database refuses or cannot do.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, Disconnected, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "optuna" not in str(error):
            raise
        raise StorageError(*_in_words(address, error)) from error


def _in_words(address: Address, error: BaseException) -> tuple[str, str]:
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, DBAPIError):
        cause = cause.__cause__
    said = str(cause.orig if isinstance(cause, DBAPIError) else cause).strip()
    if address.url.password:
        said = said.replace(str(address.url.password), "***")
    line = (said.splitlines() or [type(cause).__name__])[0]
    lower = said.lower()
    if "password authentication failed" in lower or "no password supplied" in lower:
        return f"{address} does not accept the user name and password.", "Correct them in --storage."
    if "does not exist" in lower and "database" in lower:
        return f"{address}: {line}.", "Make the database first: `createdb NAME`."
    if "locked" in lower:
        return f"{address} is locked by another program.", "End what holds it, then run the same command again."
    if "readonly" in lower or "read-only" in lower:
        return f"{address} is read-only.", "Make it writable, or give another --storage."
    if "not a database" in lower or "malformed" in lower:
        return f"{address} is not a SQLite database, or damaged.", "Restore it, or give another --storage."
    if "upgrade" in lower or "compatible" in lower:
        return f"{address} was made by another version of Optuna.", "`optuna storage upgrade --storage URL` may help."
    return (
        f"{address} cannot be reached: {line}.",
        "Check the address, and that the server runs and lets this machine in.",
    )


# === Locks ===


@contextmanager
def exclusive(address: Address, name: str, engine: sqlalchemy.Engine | None = None) -> Iterator[Callable[[], bool]]:
    """Holds a lock by name, against all processes that share the storage; the system frees it when its holder dies.

    Args:
        address: The storage.
        name: What is locked.
        engine: Of the storage; None makes one for this use.

    Yields:
        A function that says whether the lock is still held. A server that restarts forgets its locks.
    """
    if address.file is not None:
        lock = filelock.FileLock(f"{address.file}.lock")
        lock.acquire()
        try:
            yield lambda: True
        finally:
            lock.release()
        return
    key = _key(name)
    own = engine or sqlalchemy.create_engine(address.secret, connect_args={"connect_timeout": 10})
    try:
        with own.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

            def held() -> bool:
                try:
                    connection.execute(sqlalchemy.text("SELECT 1"))
                except DBAPIError:
                    return False
                return True

            yield held
    finally:
        if engine is None:
            own.dispose()


@contextmanager
def if_free(address: Address, name: str, engine: sqlalchemy.Engine) -> Iterator[bool]:
    """Holds a lock for the minutes of the body if nobody else does; yields whether. It is freed when its holder dies.

    Args:
        address: The storage.
        name: What is locked; on SQLite letters and hyphens, for it names a file.
        engine: Of the storage.
    """
    if address.file is not None:
        lock = filelock.FileLock(f"{address.file}.{name}.lock", blocking=False)
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
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        # A machine that is gone without a word is noticed after a minute, not after the two hours of most systems.
        for setting, seconds in (("idle", 30), ("interval", 10), ("count", 3)):
            connection.execute(sqlalchemy.text(f"SET tcp_keepalives_{setting} = {seconds}"))
        yield bool(connection.scalar(sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), {"key": _key(name)}))
    finally:
        with suppress(DBAPIError):  # the server has restarted meanwhile, and has forgotten the lock by itself
            connection.invalidate()  # a connection given back would keep the lock
            connection.close()


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
