"""The Keras backend of this process: chosen, started, described. The only package that names a backend.

    choice.py      which backend, and why
    protocol.py    what each backend's module offers
    <name>.py      a backend: start, device facts, kernels, compiled inference and training steps
    kernels.py     Keras's convolutions replaced by what the backend has better, with the same variables
    loss.py        the loss of a training step, in keras.ops

Keras reads KERAS_BACKEND once, when it is imported, so one process has one backend; importing this package imports
none. A further backend is a module that offers `protocol.Backend`, and its name in `choice.BACKENDS`.
"""

import os
import platform
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from kit.backends.choice import choose_backend, keras_home, running_backend
from kit.errors import BackendError
from kit.machine import environment, package_version, processor

if TYPE_CHECKING:
    from kit.backends.protocol import Backend

_QUIET = "TF_CPP_MIN_LOG_LEVEL"  # of the native code of TensorFlow and of XLA
_own_process = False
_started = False
_undo: ExitStack | None = None  # what puts back the changes of `start`, within `restored`


def own_process() -> None:
    """Declares this process transferkit's own: a command line, or a child of one.

    Starting a backend may then change what cannot be put back: the environment, and for a moment file descriptor 2.
    """
    global _own_process
    _own_process = True
    os.environ.setdefault(_QUIET, "3")


def start(requested: str = "auto", threads: int = 0, seed: int = 0) -> str:
    """Imports Keras on the chosen backend: deterministic, seeded, float32, channels last.

    May be called again, to seed again. What it sets stays, except within `restored`.

    Args:
        requested: `auto` or a backend's name.
        threads: CPU threads the backend may use, settled by the first call; 0 means all.
        seed: Seeds Python, NumPy and the backend; 0 to 2**32 - 1.

    Returns:
        The backend's name.

    Raises:
        BackendError: As `choose_backend`, and if the installed backend cannot be imported.
    """
    name = _load(requested, threads)
    _configure(seed, _undo or ExitStack())
    return name


@contextmanager
def restored() -> Iterator[None]:
    """Puts back what `start` changes in the body: Keras's settings, random states and the backend's settings.

    For calls from somebody's own Python. Threads stay as they were first set: no backend can change them later.
    """
    global _undo
    import numpy as np

    outer, _undo = _undo, ExitStack()
    _undo.callback(random.setstate, random.getstate())  # before Keras is imported, which draws
    _undo.callback(np.random.set_state, np.random.get_state())
    try:
        with _undo:
            yield
    finally:
        _undo = outer


def import_keras(name: str) -> Any:
    """Imports Keras on a backend, and takes away the keras.json that a first import writes.

    That file says `backend: tensorflow` whatever runs: left there, it would make the next run choose otherwise.
    """
    written = keras_home() / "keras.json"
    had_folder, had_file = written.parent.exists(), written.exists()
    with environment(KERAS_BACKEND=name):
        import keras
    if not had_file:
        written.unlink(missing_ok=True)
    if not had_folder:
        with suppress(OSError):
            written.parent.rmdir()
    return keras


def find(name: str) -> "Backend":
    """The module of a backend, which need not be installed."""
    return cast("Backend", import_module(f"kit.backends.{name}"))


def current() -> "Backend":
    """The module of the backend that Keras runs on."""
    return find(current_name())


def current_name() -> str:
    """The name of the backend that Keras runs on."""
    name = running_backend()
    if name is None:
        raise BackendError("No backend runs yet.", "Call kit.backends.start() first.")
    return name


def backend_version(name: str) -> str | None:
    """The installed version of a backend; None where no package's record tells."""
    return package_version(*find(name).PACKAGES)


def describe() -> dict[str, Any]:
    """What computed a run, for its manifest: backend, versions, device and threads, ready for JSON."""
    name, backend = current_name(), current()
    device = backend.device()
    return {
        "backend": name,
        "transferkit": package_version("transferkit"),
        "keras": version("keras"),
        name: backend_version(name),
        "numpy": version("numpy"),
        "pillow": version("pillow"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "device_name": processor() if device == "cpu" else backend.device_name(),
        "threads": backend.threads(),
    }


def _load(requested: str, threads: int) -> str:
    """Chooses a backend and imports Keras on it."""
    global _started
    name = choose_backend(requested)
    if _started:
        return name
    if _own_process and threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # of libraries that are imported later
    try:
        with environment(**{_QUIET: os.environ.get(_QUIET, "3")}):
            find(name).start(threads, quiet=_own_process)
            import_keras(name)
    except Exception as error:  # a broken installation fails in any way it likes
        raise BackendError(
            f"Keras could not start on {name}: {type(error).__name__}: {error}",
            "`transferkit doctor` says what is installed; reinstalling "
            f"`pip install --force-reinstall 'transferkit[{name}]'` may mend it.",
        ) from error
    _started = True
    return name


def _configure(seed: int, undo: ExitStack) -> None:
    """Settings and random states of a run; `undo` gets what puts them back."""
    import keras
    from keras.src.backend.common import global_state

    for name in ("global_random_seed", "global_seed_generator"):
        undo.callback(global_state.set_global_attribute, name, global_state.get_global_attribute(name))
    undo.callback(keras.config.set_floatx, keras.config.floatx())
    undo.callback(keras.config.set_image_data_format, keras.config.image_data_format())
    current().configure(undo)
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(seed)
