"""Export of a finished run's model to another format, kept only after a parity check in its own runtime.

package     composes the steps below: `export_run`
formats     what can be written, what each format needs, how its model is used
writers     a trained classifier -> the model's files
runtimes    the model's files -> probabilities, in the runtime they are for
worker      child processes that write and run models: one backend each
parity      the run's own test images through both models, compared
model_card  README.md with an example that runs
folders     an export's folder appears whole or not at all
"""

from kit.export.package import export_run

__all__ = ["export_run"]
