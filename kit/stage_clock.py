"""Seconds, peak memory and compiled programs of each stage of a run."""

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

_programs = 0


class StageClock:
    """Measurements of named stages, for the manifest; a stage entered again adds its seconds and programs.

    `stages`: name -> {"seconds": wall time, "peak_memory_bytes": peak resident size of the process up to the stage's
    end, None where unknown, "programs": number given to the backend to compile}.
    """

    def __init__(self):
        self.stages: dict[str, dict[str, Any]] = {}

    def add(self, stages: Mapping[str, Mapping[str, Any]]) -> None:
        """Add measurements, such as those of the process in which a resumed run began."""
        for name, measured in stages.items():
            before = self.stages.get(name, {})
            sums = {key: before.get(key, 0) + measured.get(key, 0) for key in ("seconds", "programs")}
            self.stages[name] = {**measured, **sums}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the body, also where it raises."""
        start, programs = perf_counter(), compiled_so_far()
        try:
            yield
        finally:
            measured = {"seconds": perf_counter() - start, "peak_memory_bytes": peak_memory()}
            self.add({name: {**measured, "programs": compiled_so_far() - programs}})


def peak_memory() -> int | None:
    """Peak resident size of this process so far, in bytes; None where unknown (Windows)."""
    try:
        # Linux: getrusage would give a new process the figure of its parent.
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024  # getrusage(2): kilobytes, and bytes on macOS


def compiled_so_far() -> int:
    """Programs traced for compilation in this process; JAX may have had some of them cached."""
    return _programs


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Same function, counting its calls: `jax.jit` and `tf.function` call it once per program they make."""

    @functools.wraps(function)
    def traced(*arguments):
        global _programs
        _programs += 1
        return function(*arguments)

    return traced
