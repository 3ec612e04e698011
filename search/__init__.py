"""Hyperparameter search: a study of many runs. Importing `search` imports neither Optuna nor a backend.

space, study_spec       what is searched; every check of it before anything is computed
storage, study          the database, and one study in it
trial_queue, objective  which trial is begun and which repeated; what a trial computes
worker, workers         one process that runs trials; the parent that starts, replaces and ends them
refit, kept_model       the end of a study: latencies, the best trial trained again; its record
records, importance     StudyRecord and its TrialRecords, read from a folder alone, without keras
api                     `run_study`, the Python API (docs/python-api.md)
show, commands          text, progress and the command `transferkit study`
demo                    `transferkit demo` and `demo-data`; nothing else imports it
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
