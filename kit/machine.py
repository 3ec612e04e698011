"""This machine: processor, installed packages, environment variables, the cache folder."""

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def available_threads() -> int:
    """CPU threads that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Processor name: /proc/cpuinfo on Linux (platform.processor() is often empty there)."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_features() -> str:
    """Instruction sets of the processor; empty where the system does not tell."""
    return _cpuinfo("flags") or _cpuinfo("Features")


def processor_key() -> str:
    """Name and instruction sets of the processor, 12 hex digits: what decides the last bits of sums."""
    return hashlib.sha256(f"{platform.machine()}:{processor()}:{processor_features()}".encode()).hexdigest()[:12]


def package_version(*packages: str) -> str | None:
    """Version of the first of these packages that is installed, or None."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables within a context."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def cache_folder() -> Path:
    """TRANSFERKIT_CACHE, or the user's cache folder: stores, downloads, unpacked archives."""
    chosen = os.environ.get("TRANSFERKIT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("transferkit", appauthor=False))


def heads_folder() -> Path:
    """Folder of trained heads that the trials of a study share."""
    return cache_folder() / "heads"


def _cpuinfo(key: str) -> str:
    """First value of a key in /proc/cpuinfo; empty if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.partition(":")[0].strip() == key), "")
