"""How many programs this process had its backend compile: each takes seconds, so none should be compiled twice.

Knows no keras: `kit.stage_clock.StageClock` notes the count of each stage in a run's manifest.
"""

import functools
from collections.abc import Callable
from typing import Any

_count = 0


def compiled_so_far() -> int:
    """Programs traced for compilation in this process; JAX may have found some of them compiled in its cache."""
    return _count


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, to be given to `jax.jit` or `tf.function`: both call it once for every program they make."""

    @functools.wraps(function)
    def traced(*arguments):
        global _count
        _count += 1
        return function(*arguments)

    return traced
