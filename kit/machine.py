"""What this machine and this process have: processors, packages, environment."""

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
    """The processor's name: /proc/cpuinfo on Linux (platform.processor() is often empty there)."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_features() -> str:
    """The processor's instruction sets; empty where the system does not tell."""
    return _cpuinfo("flags") or _cpuinfo("Features")


def package_version(*packages: str) -> str | None:
    """The installed version of the first of these packages that is installed, if any."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for a while."""
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


def _cpuinfo(key: str) -> str:
    """The first value of a key in /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.partition(":")[0].strip() == key), "")
