"""Train the phases of a schedule in order, each from where it was interrupted."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from kit.training.activations import Activations, training_batches, validation_batches
from kit.training.checkpoints import PhaseEnd, assign, values_of
from kit.training.history import History
from kit.training.loop import PhaseLoop
from kit.training.session import Session
from kit.training.trained_heads import SharedHead


def fit(
    session: Session,
    activations: Activations,
    checkpoints: Path | None,
    history: History,
    on_epoch: Callable[[History], None],
    stage: Callable[[str], AbstractContextManager[None]],
    shared_head: SharedHead | None = None,
) -> History:
    """Train a session's classifier.

    Args:
        session: What to train.
        activations: What `extract` returned.
        checkpoints: Folder of the run's checkpoints; None for a run that is not to be resumed.
        history: Epochs recorded so far.
        on_epoch: Called with the history after every epoch.
        stage: Times a named stage.
        shared_head: Where the first phase takes its head from if it is there, and keeps it otherwise.

    Returns:
        The history of all phases.
    """
    epochs = 0
    for phase in session.phases:
        tail = session.tail(phase)
        ended = None if checkpoints is None else PhaseEnd.load(checkpoints, phase.index)
        if ended is not None:
            assign(tail.variables, ended.variables)
            epochs = ended.epochs_total
            continue
        shared = shared_head if phase.index == 0 else None
        if shared and shared.trained:
            history = shared.trained.give(tail)
            for done in range(len(history)):
                on_epoch(History(history.records[: done + 1]))
        else:
            with stage(f"phase {phase.index + 1}: {phase.name}"):
                training = training_batches(session, activations, phase)
                validation = validation_batches(session, activations, phase)
                loop = PhaseLoop(phase, tail, training, validation, session.config.training)
                history = loop.run(history, epochs, on_epoch, checkpoints)
            if shared:
                shared.keep(tail, history)
        epochs = len(history)
        if checkpoints is not None:
            PhaseEnd(values_of(tail.variables), epochs).save(checkpoints, phase.index)
    return history
