"""SHA-256 of files and of settings."""

import hashlib
import json
from pathlib import Path
from typing import Any


def fingerprint(content: Any) -> str:
    """SHA-256 (64 hex digits) of any JSON-serialisable value, independent of key order."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
