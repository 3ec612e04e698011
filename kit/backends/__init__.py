"""Keras backend of this process: chosen, started, described. No other package names a backend.

    choice.py      which backend, and why
    protocol.py    what each backend's module offers
    <name>.py      a backend: start, device facts, kernels, compiled inference and training steps
    kernels.py     Keras's convolutions replaced by faster ones with the same variables
    aside.py       TensorFlow kept out of processes of the others
    recipes.py     all that decides what is cached, the backend's arithmetic among it
    mixing.py      MixUp of a batch, in keras.ops

Keras reads KERAS_BACKEND once, at import, so one process has one backend; importing this package imports none. To add
one, write a module that offers `protocol.Backend`, and name it in `choice.BACKENDS`.
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
from kit.machine import environment, install_command, package_version, processor

if TYPE_CHECKING:
    from kit.backends.protocol import Backend

_QUIET = "TF_CPP_MIN_LOG_LEVEL"  # of the native code of TensorFlow and of XLA
_own_process = False
_started = False
_undo: ExitStack | None = None  # what puts back the changes of `start`, within `restored`


def own_process() -> None:
    """Declare this process transferkit's own: a command line, or a child of one.

    Starting a backend may then change what cannot be put back: the environment, and for a moment file descriptor 2.
    """
    global _own_process
    _own_process = True
    os.environ.setdefault(_QUIET, "3")


def start(requested: str = "auto", threads: int = 0, seed: int = 0) -> str:
    """Import Keras on a backend, deterministic, seeded, float32, channels last; returns its name.

    May be called again, to seed again; settings stay, except within `restored`. `requested` is `auto` or a backend's
    name; `threads` of the CPU (0: all) are fixed by the first call; `seed`, 0 to 2**32 - 1, is for Python, NumPy and
    the backend. Raises BackendError as `choose_backend`, and if the installed backend cannot be imported.
    """
    name = _load(requested, threads)
    _configure(seed, _undo or ExitStack())
    return name


@contextmanager
def restored() -> Iterator[None]:
    """Restore Keras's settings, random states and the backend's settings after the body.

    For calls from a user's own Python. Threads stay as first set: no backend can change them later.
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


@contextmanager
def importing_keras(name: str) -> Iterator[None]:
    """The first import of Keras, or of TensorFlow, which imports Keras: on a backend, without the keras.json it writes.

    That file says `backend: tensorflow` whatever runs, and would decide the backend of the next run.
    """
    written = keras_home() / "keras.json"
    had_folder, had_file = written.parent.exists(), written.exists()
    with environment(KERAS_BACKEND=name):
        yield
    if not had_file:
        written.unlink(missing_ok=True)
    if not had_folder:
        with suppress(OSError):
            written.parent.rmdir()


def find(name: str) -> "Backend":
    """Module of a backend, installed or not."""
    return cast("Backend", import_module(f"kit.backends.{name}"))


def current() -> "Backend":
    """Module of the backend that Keras runs on."""
    return find(current_name())


def current_name() -> str:
    """Name of the backend that Keras runs on; raises BackendError before one is started."""
    name = running_backend()
    if name is None:
        raise BackendError("No backend runs yet.", "Call kit.backends.start() first.")
    return name


def backend_version(name: str) -> str | None:
    """Installed version of a backend; None where no package metadata tells."""
    return package_version(*find(name).PACKAGES)


def describe() -> dict[str, Any]:
    """Backend, versions, device and threads for a run's manifest, ready for JSON."""
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
    global _started
    name = choose_backend(requested)
    if _started:
        return name
    if _own_process and threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # of libraries that are imported later
    try:
        with importing_keras(name), environment(**{_QUIET: os.environ.get(_QUIET, "3")}):
            find(name).start(threads, quiet=_own_process)
            import keras  # noqa: F401
    except Exception as error:  # a broken installation fails in any way it likes
        raise BackendError(
            f"Keras could not start on {name}: {type(error).__name__}: {error}",
            "`transferkit doctor` says what is installed; reinstalling "
            f"`{install_command(name, '--force-reinstall')}` may mend it.",
        ) from error
    _started = True
    return name


def _configure(seed: int, undo: ExitStack) -> None:
    """Set Keras's options and random states; `undo` gets what restores them."""
    import keras
    from keras.src.backend.common import global_state

    for name in ("global_random_seed", "global_seed_generator", "dtype_policy"):
        undo.callback(global_state.set_global_attribute, name, global_state.get_global_attribute(name))
    undo.callback(keras.config.set_floatx, keras.config.floatx())
    undo.callback(keras.config.set_image_data_format, keras.config.image_data_format())
    current().configure(undo)
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")  # a notebook may have set another, such as mixed_bfloat16
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(seed)
