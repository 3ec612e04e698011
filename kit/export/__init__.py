"""A finished run handed over in another format, and only after it was run there and compared.

formats     what can be written, what each needs, and how it is used
writers     a trained classifier -> the model's files
runtimes    the model's files -> probabilities, in the runtime that they are for
worker      the processes that write and run them: one backend each
gate        the run's own test images through both models, compared
card        README.md: the model card, with an example that runs
bundle      composes all of it: `export_run`
"""

from kit.export.package import export_run

__all__ = ["export_run"]
