"""Chooses, starts, seeds and describes the Keras backend; runs before keras is imported.

Keras reads KERAS_BACKEND once, when it is imported, so one process has one backend. Nothing here imports keras, jax or
tensorflow before `start`.
"""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kit.config import BACKENDS
from kit.errors import BackendError
from kit.fingerprint import fingerprint
from kit.paths import cache_folder

COMPILED_BYTES = 2**30  # kept of JAX's compiled programs, the last used ones
COMPILED_FROM_SECONDS = 0.1  # what compiles faster is not worth a file

_started = False


@dataclass(frozen=True)
class Choice:
    """A backend and the reason for it, as `transferkit doctor` prints them.

    Attributes:
        name: `jax` or `tensorflow`; installed.
        why: What decided: "asked for", "KERAS_BACKEND", ...
    """

    name: str
    why: str


def installed_backends() -> tuple[str, ...]:
    """The supported backends that can be found, without importing them: a part of ("jax", "tensorflow"), in order."""
    return tuple(name for name in BACKENDS if name in sys.modules or find_spec(name) is not None)


def keras_home() -> Path:
    """The folder of keras.json and of Keras's downloads; the rule of keras/src/backend/config.py."""
    chosen = os.environ.get("KERAS_HOME")
    if chosen:
        return Path(chosen).expanduser()
    home = os.path.expanduser("~")
    return Path(home if os.access(home, os.W_OK) else "/tmp") / ".keras"


def explain_choice(requested: str = "auto") -> Choice:
    """Says which backend a run would use, and why; changes nothing.

    Args:
        requested: A flag's or a configuration's backend: `auto`, `jax` or `tensorflow`.

    Raises:
        BackendError: If the name is not a supported backend, or not an installed one, or if none is installed.
    """
    if requested != "auto":
        return Choice(_checked(requested, "The backend asked for"), "asked for")
    from_environment = os.environ.get("KERAS_BACKEND")
    if from_environment:
        return Choice(_checked(from_environment, "KERAS_BACKEND"), "KERAS_BACKEND")
    # keras.json may name anything: Keras writes `tensorflow` there unasked, so what is not installed is no error.
    installed, configured = installed_backends(), _backend_in_keras_json()
    if configured in installed:
        return Choice(configured, str(keras_home() / "keras.json"))
    if not installed:
        raise BackendError("No Keras backend is installed: neither jax nor tensorflow was found.", _how_to_install())
    # JAX first: some order must be fixed, or the same command would tell two stories on two machines.
    return Choice(
        installed[0], "installed" if len(installed) == 1 else "installed, first of " + " and ".join(installed)
    )


def choose_backend(requested: str = "auto") -> str:
    """Chooses the backend and sets KERAS_BACKEND, so that the next `import keras` obeys.

    Order: `requested`; KERAS_BACKEND; keras.json where it names an installed backend; jax, then tensorflow, whichever
    is installed.

    Returns:
        `jax` or `tensorflow`.

    Raises:
        BackendError: As `explain_choice`, and if keras was imported under another backend already.
    """
    running = _running_backend()
    name = explain_choice(requested if requested != "auto" else running or "auto").name
    if running not in (None, name):
        raise BackendError(
            f"The backend {name} was asked for, but Keras already runs on {running} in this process.",
            f"Keras cannot change its backend: start a new process, with KERAS_BACKEND={name} set.",
        )
    os.environ["KERAS_BACKEND"] = name
    return name


def start(requested: str = "auto", threads: int = 0, seed: int = 0) -> str:
    """Imports keras under the chosen backend: quiet, deterministic, seeded, float32, channels last.

    May be called again, to seed again; the number of threads is settled by the first call (`describe` tells it).

    Args:
        requested: `auto`, `jax` or `tensorflow`.
        threads: CPU threads the backend may use; 0 means all.
        seed: Seeds Python, NumPy and the backend; 0 to 2**32 - 1.

    Returns:
        The backend's name.

    Raises:
        BackendError: As `choose_backend`, and if the installed backend cannot be imported.
    """
    global _started
    name = choose_backend(requested)
    if not _started:
        _prepare_environment(name, threads)
    try:
        with _native_log_dropped() if name == "tensorflow" and not _started else nullcontext():
            keras = _import_keras()
            if name == "tensorflow" and not _started:
                _configure_tensorflow(threads)
    except Exception as error:  # a broken installation fails in any way it likes
        raise BackendError(
            f"Keras could not start on {name}: {type(error).__name__}: {error}",
            "`transferkit doctor` says what is installed; reinstalling "
            f"`pip install --force-reinstall 'transferkit[{name}]'` may mend it.",
        ) from error
    _started = True
    if name == "jax":
        _keep_tensorflow_out()
        _keep_compiled_programs()
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(seed)
    return name


def device() -> str:
    """Where the started backend computes: `cpu`, `gpu` or `tpu`."""
    if _running_backend() == "jax":
        import jax

        return {"cuda": "gpu", "rocm": "gpu"}.get(jax.default_backend(), jax.default_backend())
    import tensorflow as tf

    kinds = {found.device_type for found in tf.config.list_physical_devices()}
    return "tpu" if "TPU" in kinds else "gpu" if "GPU" in kinds else "cpu"


def describe() -> dict[str, Any]:
    """What computed a run, for its manifest: backend, versions, device and threads, ready for JSON."""
    name = _running_backend()
    if name is None:
        raise BackendError("No backend runs yet.", "Call kit.backend.start() first.")
    return {
        "backend": name,
        "transferkit": package_version("transferkit"),
        "keras": version("keras"),
        name: backend_version(name),
        "numpy": version("numpy"),
        "pillow": version("pillow"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device(),
        "device_name": _device_name(name),
        "threads": threads_in_use(name),
    }


def backend_version(name: str) -> str | None:
    """The installed version of `jax` or `tensorflow`; None where no package's record tells."""
    packages = (name, f"{name}-cpu", f"{name}-macos")  # TensorFlow comes under several package names
    return next(filter(None, map(package_version, packages)), None)


def package_version(package: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def available_threads() -> int:
    """CPU threads that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_in_use(name: str) -> int:
    """CPU threads that the started backend `name` uses for one operation."""
    if name == "tensorflow":
        import tensorflow as tf

        return tf.config.threading.get_intra_op_parallelism_threads() or available_threads()
    limit = os.environ.get("NPROC", "")
    return int(limit) if limit.isdecimal() and int(limit) else available_threads()


def _checked(name: str, origin: str) -> str:
    installed = installed_backends()
    if name not in BACKENDS:
        found = f"installed here: {' and '.join(installed)}" if installed else "neither is installed here"
        raise BackendError(
            f"{origin} must be jax or tensorflow, not {name!r}; {found}.",
            f"Use --backend {installed[0]} or KERAS_BACKEND={installed[0]}." if installed else _how_to_install(),
        )
    if name not in installed:
        others = f"; installed: {' and '.join(installed)}" if installed else "; neither jax nor tensorflow is"
        raise BackendError(f"{origin} is {name}, which is not installed{others}.", _how_to_install(name))
    return name


def _how_to_install(name: str = "") -> str:
    names = (name,) if name else BACKENDS
    return "Install it: " + " or ".join(f"pip install 'transferkit[{extra}]'" for extra in names) + "."


def _backend_in_keras_json() -> str | None:
    try:
        content = json.loads((keras_home() / "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("backend") if isinstance(content, dict) else None


def _running_backend() -> str | None:
    keras = sys.modules.get("keras")
    return keras.config.backend() if keras is not None and hasattr(keras, "config") else None


def _prepare_environment(name: str, threads: int) -> None:
    """Sets what XLA, TensorFlow and OpenMP read from the environment when they are loaded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if threads:
        # XLA's CPU client sizes its thread pools by NPROC. Pinning to CPUs instead would put all workers of a study,
        # each of which starts with one thread, on the very same ones.
        os.environ["NPROC"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    # Only beside a GPU plugin: XLA ends the process on a flag that it does not know.
    if name == "jax" and find_spec("jax_plugins") is not None:
        flags = os.environ.get("XLA_FLAGS", "")
        if "--xla_gpu_deterministic_ops" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def _import_keras() -> Any:
    """Imports keras, and removes the keras.json that a first import writes.

    That file says `backend: tensorflow` whatever runs: left there, it would make the next run choose otherwise than
    this one.
    """
    written = keras_home() / "keras.json"
    was_there = written.exists()
    import keras

    if not was_there and written.exists():
        written.unlink(missing_ok=True)
    return keras


def _configure_tensorflow(threads: int) -> None:
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    if threads:
        with suppress(RuntimeError):  # it computes already, started by someone else: too late to choose
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
    _ = tf.zeros(()) + 1  # the first operation starts the runtime, which logs: within `_native_log_dropped`


@contextmanager
def _native_log_dropped() -> Iterator[None]:
    """Drops what native code writes to standard error, unless the body fails.

    TensorFlow 2.21 logs "oneDNN custom operations are on" before it reads any log level (measured: TF_CPP_MIN_LOG_LEVEL
    and ABSL_MIN_LOG_LEVEL change nothing); only turning oneDNN off, which costs speed, would silence it.
    """
    with tempfile.TemporaryFile() as log:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(kept, log.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _keep_tensorflow_out() -> None:
    """Tells Keras that there is no TensorFlow, under JAX.

    Saving a model and seeding ask `tf.available` (keras/src/saving/serialization_lib.py, keras/src/utils/rng_utils.py),
    which imports TensorFlow wherever it is installed: seconds, memory, and a second thread pool. An explicit import of
    it still works.
    """
    from keras.src.utils import module_utils

    if "tensorflow" not in sys.modules and hasattr(module_utils.tensorflow, "_available"):
        module_utils.tensorflow._available = False


def _keep_compiled_programs() -> None:
    """Keeps what XLA compiles in the cache folder, so that the next process starts at once.

    JAX_COMPILATION_CACHE_DIR, or an empty one for none, is respected. The folder is named after the processor: XLA
    compiles for its very instructions, and a home folder may be shared by several machines.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" in os.environ or getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    processor = fingerprint([platform.machine(), _processor(), _processor_features()])[:12]
    folder = cache_folder() / "compiled" / processor
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # whoever needs the cache says so; this is a convenience
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", COMPILED_FROM_SECONDS)


def _device_name(name: str) -> str:
    if device() == "cpu":
        return _processor()
    if name == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return str(details.get("device_name", "GPU"))


def _processor() -> str:
    """The processor's name: /proc/cpuinfo on Linux (platform.processor() is often empty there)."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _processor_features() -> str:
    """The instruction sets it has, where the system tells."""
    return _cpuinfo("flags") or _cpuinfo("Features")


def _cpuinfo(key: str) -> str:
    """The first value of a key in /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.partition(":")[0].strip() == key), "")
