"""Latency of the trials on the Pareto front, measured after all else has ended."""

from kit import progress
from kit.trial import Trainer
from search.records import StudyRecord
from search.study import OpenStudy, config_of


def measure_latency(study: OpenStudy) -> StudyRecord:
    """Measure the missing latencies in this process, one after the other."""
    record, trainer = study.record, Trainer()
    found = {number: ms for number, ms in record.latency.items() if number in {one.number for one in record.front()}}
    for trial in record.front():
        if trial.number not in found:
            progress.say(f"Measuring how fast trial {trial.number} predicts.")
            found[trial.number] = trainer.latency(config_of(record, trial.number))
    study.note("latency", {str(number): ms for number, ms in found.items()})
    return study.refresh()
