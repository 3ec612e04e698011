"""Programs compiled by JAX, with options for correct and repeatable results."""

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from kit.compile_counter import counted

# jaxlib 0.10.2 sums more than 32,768 rows wrongly on a CPU (https://github.com/jax-ml/jax/issues/39103); 0.12.0 does
# not. Of what XLA hands to YNNPACK by default, this leaves out reductions, and keeps matrix products and convolutions.
SUMS_WRONGLY = ((0, 10, 2), (0, 12, 0))  # versions of jaxlib: from, and before
YNN_FUSION = "xla_cpu_experimental_ynn_fusion_type"
ALL_BUT_REDUCTIONS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"


def device() -> str:
    import jax

    return {"cuda": "gpu", "rocm": "gpu"}.get(jax.default_backend(), jax.default_backend())


def compiler_options() -> dict[str, str | bool]:
    """XLA options for this device and jaxlib version."""
    first_wrong, first_right = SUMS_WRONGLY
    if device() == "gpu":
        return {"xla_gpu_deterministic_ops": True}
    if first_wrong <= _jaxlib_version() < first_right and YNN_FUSION not in os.environ.get("XLA_FLAGS", ""):
        return {YNN_FUSION: ALL_BUT_REDUCTIONS}
    return {}


def compile_program(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` with `compiler_options`, counted."""
    import jax

    return jax.jit(counted(function), compiler_options=compiler_options())


def _jaxlib_version() -> tuple[int, ...]:
    return tuple(int(part) for part in version("jaxlib").split(".")[:3])
