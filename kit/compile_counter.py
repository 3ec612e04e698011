"""Count of the programs that the backend compiles, seconds each, so none should be compiled twice; imports no keras."""

import functools
from collections.abc import Callable
from typing import Any

_count = 0


def compiled_so_far() -> int:
    """Programs traced for compilation in this process; JAX may have had some of them cached."""
    return _count


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Same function, counting its calls: `jax.jit` and `tf.function` call it once per program they make."""

    @functools.wraps(function)
    def traced(*arguments):
        global _count
        _count += 1
        return function(*arguments)

    return traced
