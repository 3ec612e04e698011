"""Choice of the Keras backend, and its reason. Importing this module imports neither keras nor a backend."""

import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kit.errors import BackendError
from kit.machine import install_command

BACKENDS = (
    "jax",
    "tensorflow",
    "torch",
)  # by preference; each is a module of kit.backends and an extra


@dataclass(frozen=True)
class BackendChoice:
    """Installed backend, and the reason for it as `transferkit doctor` prints it."""

    name: str
    why: str


def installed_backends() -> tuple[str, ...]:
    """Installed backends, in order of preference; none is imported."""
    return tuple(name for name in BACKENDS if name in sys.modules or find_spec(name) is not None)


def running_backend() -> str | None:
    """Backend that Keras was imported with; None before."""
    keras = sys.modules.get("keras")
    return keras.config.backend() if keras is not None and hasattr(keras, "config") else None


def keras_home() -> Path:
    """Folder of keras.json and Keras's downloads; the rule of keras/src/backend/config.py."""
    chosen = os.environ.get("KERAS_HOME")
    if chosen:
        return Path(chosen).expanduser()
    home = os.path.expanduser("~")
    return Path(home if os.access(home, os.W_OK) else "/tmp") / ".keras"


def explain_choice(requested: str = "auto") -> BackendChoice:
    """Which backend a run would use, and why.

    Order: `requested`, unless `auto`; KERAS_BACKEND; keras.json where it names an installed backend; the first
    installed. Raises BackendError if the name is no supported or installed backend, or none is installed.
    """
    if requested != "auto":
        return BackendChoice(_checked(requested, "The backend asked for"), "asked for")
    from_environment = os.environ.get("KERAS_BACKEND")
    if from_environment:
        return BackendChoice(_checked(from_environment, "KERAS_BACKEND"), "KERAS_BACKEND")
    # keras.json may name anything: Keras writes `tensorflow` there unasked, so what is not installed is no error.
    installed, configured = installed_backends(), _backend_in_keras_json()
    if configured in installed:
        return BackendChoice(configured, str(keras_home() / "keras.json"))
    if not installed:
        raise BackendError(f"No Keras backend is installed: found none of {', '.join(BACKENDS)}.", _how_to_install())
    # A fixed order, so that the same command chooses the same backend on every machine.
    why = "installed" if len(installed) == 1 else "installed, first of " + " and ".join(installed)
    return BackendChoice(installed[0], why)


def choose_backend(requested: str = "auto") -> str:
    """Backend of this process: the running one if Keras is imported, else `explain_choice`'s.

    Raises BackendError as `explain_choice`, and if Keras runs on another backend than the one requested.
    """
    running = running_backend()
    name = explain_choice(requested if requested != "auto" else running or "auto").name
    if running not in (None, name):
        raise BackendError(
            f"The backend {name} was asked for, but Keras already runs on {running} in this process.",
            f"Keras cannot change its backend: start a new process, with KERAS_BACKEND={name} set.",
        )
    return name


def _checked(name: str, origin: str) -> str:
    installed = installed_backends()
    if name not in BACKENDS:
        found = f"installed here: {' and '.join(installed)}" if installed else "none is installed here"
        raise BackendError(
            f"{origin} must be {' or '.join(BACKENDS)}, not {name!r}; {found}.",
            f"Choose {installed[0]}, by KERAS_BACKEND={installed[0]} or as the backend of the command."
            if installed
            else _how_to_install(),
        )
    if name not in installed:
        others = f"; installed: {' and '.join(installed)}" if installed else "; no backend is"
        raise BackendError(f"{origin} is {name}, which is not installed{others}.", _how_to_install(name))
    return name


def _how_to_install(name: str = "") -> str:
    names = (name,) if name else BACKENDS
    return "Install it: " + " or ".join(map(install_command, names))


def _backend_in_keras_json() -> str | None:
    try:
        content = json.loads((keras_home() / "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("backend") if isinstance(content, dict) else None
