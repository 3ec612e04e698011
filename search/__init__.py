"""Many runs: a study that searches for the best settings. Importing `search` imports neither Optuna nor a backend.

space, question         what is searched, and everything that can be wrong with it, said before anything is computed
storage, study          Optuna's storage, and one study in it
objective, claims       one trial, and who may run it
workers, running        processes that run trials, and how far they are
best, front             the model that is kept; what a Pareto study measures besides
records                 Study -> frozen TrialRecords; knows no keras
api                     `run_study`, the Python API (docs/python-api.md)
show, cli, demo         what a person reads; `transferkit study`; `transferkit demo`
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.api import FinishedStudy, run_study

__all__ = ["FinishedStudy", "run_study"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from search import api

        return getattr(api, name)
    raise AttributeError(f"module 'search' has no attribute {name!r}")
