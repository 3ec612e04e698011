"""SQLite cache of image facts, shared by several processes."""

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import PIL

from kit.data.images import DECODER_VERSION
from kit.progress import say

FACTS_VERSION = 1  # raise it whenever the same pixels would give other facts


class FactCache:
    """Facts by key in an SQLite file; an unusable file is ignored, a damaged one replaced."""

    def __init__(self, folder: Path):
        file = folder / f"facts-{FACTS_VERSION}-{DECODER_VERSION}-{PIL.__version__}.sqlite"
        self._lock = threading.Lock()
        self._new: list[tuple[str, str]] = []
        self._connection: sqlite3.Connection | None = None
        for _ in range(2):
            try:
                self._connection = _connected(file)
                return
            except (sqlite3.OperationalError, OSError):  # locked, read-only, full
                return
            except sqlite3.DatabaseError:  # not a database, or a damaged one
                file.unlink(missing_ok=True)

    def get(self, key: str) -> dict[str, Any] | None:
        """Facts of a key, or None."""
        with self._lock:
            if self._connection is None:
                return None
            try:
                row = self._connection.execute("SELECT facts FROM facts WHERE key = ?", (key,)).fetchone()
                return json.loads(row[0]) if row else None
            except (sqlite3.Error, TypeError, ValueError):
                return None

    def put(self, key: str, facts: dict[str, Any]) -> None:
        """Add facts; `save` writes them."""
        with self._lock:
            self._new.append((key, json.dumps(facts)))

    def save(self) -> None:
        """Write the added facts."""
        with self._lock:
            new, self._new = self._new, []
            if self._connection is None or not new:
                return
            try:
                with self._connection:
                    self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", new)
            except sqlite3.Error as error:
                say(f"The audit cache cannot be written ({error}); the images will be read again next time.")
                self._connection.close()
                self._connection = None

    def close(self) -> None:
        """Save, and close the file."""
        self.save()
        if self._connection is not None:
            self._connection.close()


def _connected(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file, timeout=30, check_same_thread=False)  # a lock keeps threads apart
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, facts TEXT) WITHOUT ROWID")
        connection.execute("SELECT key FROM facts LIMIT 1").fetchone()
        connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
