"""Many runs: a study that searches for the best settings. Importing `search` imports neither Optuna nor a backend.

space, study_spec       what is searched, and everything that can be wrong with it, said before anything is computed
storage, study          the database, and one study in it
trial_queue, objective  which trial is begun and which repeated; what a trial computes
worker, workers         one process that runs trials; the parent that starts, replaces and ends them
refit, pareto_latency   the model that is kept; what a Pareto study measures besides
records                 StudyRecord and its TrialRecords, read from a folder alone; knows no keras
api                     `run_study`, the Python API (docs/python-api.md)
show, display, commands what a person reads; `transferkit study`
demo                    `transferkit demo`; nothing else imports it
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.api import run_study
    from search.records import StudyRecord

__all__ = ["StudyRecord", "run_study"]


def __getattr__(name: str) -> Any:
    if name == "StudyRecord":
        from search.records import StudyRecord

        return StudyRecord
    if name == "run_study":
        from search.api import run_study

        return run_study
    raise AttributeError(f"module 'search' has no attribute {name!r}")
