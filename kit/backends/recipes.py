"""Recipes: all that can change a bit of what is cached, and nothing else. docs/how-it-works.md says why."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from kit import backends
from kit.machine import processor_key


def recipe(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe of cached `pixels`, `features` (activations) or `heads` (trained heads), JSON-serialisable.

    Pixels are made in whole numbers: `settings`, with the decoder's versions, are all. The others are sums of floating
    point, whose order is the backend's, its version's and the processor's. Threads share images out, never the sum
    within one, but a training step adds images up: they count for heads alone.

    Raises BackendError for `features` and `heads` before a backend is started.
    """
    if kind == "pixels":
        return dict(settings)
    name, backend = backends.current_name(), backends.current()
    device = backend.device()
    computed = {
        "backend": name,
        "version": backends.backend_version(name),
        "keras": version("keras"),
        "device": device,
        "processor": processor_key() if device == "cpu" else backend.device_name(),
        "arithmetic": list(backend.arithmetic()),
    }
    threads = {"threads": backend.threads()} if kind == "heads" else {}
    return {**settings, "computed": computed | threads}
