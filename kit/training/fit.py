"""Train the phases of a schedule in order, resuming where interrupted; predict by the model of each."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kit.evaluation import fit_temperature
from kit.model.classifier import mean_over_places
from kit.model.strangeness import choose_kept
from kit.training.callbacks import Callbacks
from kit.training.checkpoints import PhaseEnd, SharedHead, assign, values_of
from kit.training.extraction import Activations, training_batches, validation_batches
from kit.training.forward import compile_forward, predict
from kit.training.history import History
from kit.training.loop import PhaseLoop
from kit.training.schedule import Phase
from kit.training.session import Session


def fit(
    session: Session,
    activations: Activations,
    checkpoints: Path | None,
    history: History,
    on_epoch: Callable[[History], None],
    stage: Callable[[str], AbstractContextManager[None]],
    shared_head: SharedHead | None = None,
    callbacks: Callbacks | None = None,
) -> History:
    """Train a session's classifier in place; returns the history of all phases.

    Args:
        checkpoints: The run's checkpoint folder; None for a run that cannot be resumed.
        history: Epochs recorded so far.
        on_epoch: Called with the history after every epoch.
        stage: Context manager that times a named stage.
        shared_head: Gives the first phase its head if trained already; otherwise keeps the one trained here.
        callbacks: Told of each phase that is trained here.
    """
    if callbacks:
        callbacks.attach(session.classifier.full())
    epochs = 0
    for phase in session.phases:
        tail = session.tail(phase, logits=True)
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
                depths = session.classifier.depths(tail.trainable_variables)
                config = session.config
                loop = PhaseLoop(phase, tail, training, validation, config.training, depths, callbacks, config.parts)
                history = loop.run(history, epochs, on_epoch, checkpoints)
            if shared:
                shared.keep(tail, history)
        epochs = len(history)
        if checkpoints is not None:
            PhaseEnd(values_of(tail.variables), epochs).save(checkpoints, phase.index)
    return history


@dataclass(frozen=True)
class Predicted:
    """What the model of a phase predicts: probabilities, float32 (n, classes), its logits divided by `temperature`."""

    probabilities: np.ndarray
    temperature: float


def predict_phases(
    session: Session, activations: Activations, checkpoints: Path, splits: tuple[str, ...]
) -> list[Predicted]:
    """Calibrate the model of each finished phase on validation, and predict by it.

    NaN for images outside `splits`, which are not read, validation images excepted. The classifier is left with the
    last phase's weights, from the folder `checkpoints`, calibrated.
    """
    dataset = session.dataset
    wanted, validation = np.flatnonzero(np.isin(dataset.splits, splits)), dataset.indices("validation")
    results = []
    for phase in session.phases:
        tail = session.tail(phase)
        ended = PhaseEnd.load(checkpoints, phase.index)
        if ended is None:
            raise ValueError(f"phase {phase.index} has not ended")
        assign(tail.variables, ended.variables)
        predict_tail = _prediction(session, activations, phase, tail)
        temperature = fit_temperature(predict_tail(validation)[validation], dataset.labels[validation])
        session.classifier.scale(temperature)
        results.append(Predicted(predict_tail(wanted), temperature))
    return results


def predict_trained(session: Session, activations: Activations) -> np.ndarray:
    """Probabilities of every image by a trained classifier, float32 (n, classes).

    Equal to those of `predict_phases` for the last phase, to the bit.
    """
    phase = session.phases[-1]
    everything = np.arange(len(session.dataset.keys))
    return _prediction(session, activations, phase, session.tail(phase))(everything)


def pooled_features(session: Session, activations: Activations, indices: np.ndarray) -> np.ndarray:
    """Pooled features of some images by a trained classifier, float32 (n, channels), from the stored activations."""
    start = session.start(session.phases[-1])
    stored = activations.plain[start.depth].take(indices)
    if start.depth == 0:
        features = stored[:].astype(np.float32)
        return features.mean(axis=tuple(range(1, features.ndim - 1)))  # a head of one's own may take them unpooled
    maps = session.classifier.feature_maps(start)
    pooled = keras.Model(maps.input, mean_over_places(maps.outputs[0]))
    forward = compile_forward(pooled)
    return predict(lambda batch: forward(batch)[0], stored, session.config.training.batch_size)


def features_to_compare(
    session: Session, activations: Activations, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`pooled_features` of the training images that a strangeness keeps, and of the images `others`."""
    train = session.dataset.indices("train")
    kept = train[choose_kept(session.dataset.labels[train], session.config.seed)]
    features = pooled_features(session, activations, np.concatenate([kept, others]))
    return features[: len(kept)], features[len(kept) :]


def _prediction(
    session: Session, activations: Activations, phase: Phase, tail: keras.Model
) -> Callable[[np.ndarray], np.ndarray]:
    """Function of the wanted images to their probabilities, NaN for the others."""
    forward = compile_forward(tail)

    def of(wanted: np.ndarray) -> np.ndarray:
        x = activations.plain[session.start(phase).depth].take(wanted)
        result = np.full((len(session.dataset.keys), tail.output.shape[-1]), np.nan, np.float32)
        if len(wanted):
            result[wanted] = predict(lambda batch: forward(batch)[0], x, session.config.training.batch_size)
        return result

    return of
