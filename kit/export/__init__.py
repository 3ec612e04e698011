"""Export of a finished run's model to another format, kept only after a parity check in its own runtime.

package          composes the steps below, replaces the folder atomically: `export_run`
formats          the formats, their requirements, and how their models are used
writers          a trained classifier -> the model's files
worker           child processes that write and run models: one backend each
parity           the run's own test images through both models, each in its own runtime, compared
benchmark        size, time, memory and accuracy in every format: `benchmark_run`
model_card       README.md with an example that runs
"""

from kit.export.benchmark import benchmark_run
from kit.export.package import export_run

__all__ = ["benchmark_run", "export_run"]
