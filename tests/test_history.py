import math

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import StorageError, UserError
from kit.training.history import COLUMNS, EpochRecord, History


def record(epoch=1, **changes) -> EpochRecord:
    values = {"phase": "head", "seconds": 1.5, "learning_rate": 1e-3, "loss": 0.7, "accuracy": 0.6}
    return EpochRecord(epoch, **{**values, "val_loss": 0.8, "val_accuracy": 0.5, **changes})


@st.composite
def histories(draw):
    validated = draw(st.booleans())
    loss, share = st.floats(0, 1e6), st.floats(0, 1)
    records = [
        EpochRecord(
            epoch=i + 1,
            phase=draw(st.sampled_from(["head", "fine-tune", ""])),
            seconds=draw(loss),
            learning_rate=draw(share),
            loss=draw(loss),
            accuracy=draw(share),
            val_loss=draw(loss) if validated else None,
            val_accuracy=draw(share) if validated else None,
        )
        for i in range(draw(st.integers(0, 5)))
    ]
    return History(tuple(records))


@given(histories())
def test_a_frame_gives_the_same_history_back(history):
    frame = history.to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == len(history)
    assert History.from_frame(frame) == history


def test_append_leaves_the_old_history_as_it_was():
    first = History().append(record(1))
    second = first.append(record(2, phase="fine-tune"))
    assert [len(first), len(second)] == [1, 2]
    assert second.phases() == ("head", "fine-tune")
    assert second.phase("fine-tune").records == (record(2, phase="fine-tune"),)
    assert second.phase("nothing").records == ()


@pytest.mark.parametrize("epochs", [(1, 3), (1, 1), (2, 1)])
def test_epochs_are_dense_and_in_order(epochs):
    with pytest.raises(ValueError, match="must be followed by"):
        History(tuple(record(epoch) for epoch in epochs))


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 0},  # counts from 1
        {"seconds": -1.0},
        {"learning_rate": math.nan},
        {"accuracy": 1.1},
        {"val_accuracy": -0.1},
        {"accuracy": math.nan},
        {"val_loss": None},  # without val_accuracy = None
    ],
)
def test_a_record_checks_its_numbers(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        record(**changes)


@pytest.mark.parametrize("changes", [{"loss": math.nan}, {"loss": math.inf}, {"val_loss": math.nan}])
def test_a_loss_that_is_no_number_means_training_diverged(changes):
    with pytest.raises(UserError, match=r"diverged: (val_)?loss is (nan|inf) after epoch 3 \(phase 'head'\)") as caught:
        record(3, **changes)
    assert "learning_rate" in caught.value.hint


@pytest.mark.parametrize(
    ("monitor", "rows", "best"),
    [
        ("val_accuracy", [(0.9, 0.5), (0.8, 0.7), (0.7, 0.6)], 2),  # the highest accuracy
        ("val_accuracy", [(0.9, 0.7), (0.8, 0.7), (0.7, 0.6)], 2),  # a tie: the lower loss
        ("val_accuracy", [(0.8, 0.7), (0.8, 0.7)], 1),  # a tie in both: the earliest
        ("val_accuracy", [(0.8, 0.0), (0.9, 0.0)], 1),  # zero is a number, not a missing one
        ("val_loss", [(0.9, 0.9), (0.8, 0.1)], 2),  # the lowest loss, whatever the accuracy
        ("val_loss", [(0.0, 0.1), (0.0, 0.9)], 1),  # a tie: the earliest
    ],
)
def test_best_epoch(monitor, rows, best):
    records = [record(i + 1, val_loss=loss, val_accuracy=accuracy) for i, (loss, accuracy) in enumerate(rows)]
    assert History(tuple(records)).best(monitor).epoch == best


def test_without_validation_the_last_epoch_is_the_best():
    records = [record(i, val_loss=None, val_accuracy=None) for i in (1, 2, 3)]
    assert History(tuple(records)).best().epoch == 3


def test_best_needs_epochs_and_a_known_monitor():
    with pytest.raises(ValueError, match="empty"):
        History().best()
    with pytest.raises(ValueError, match="monitor"):
        History((record(),)).best("accuracy")


def test_curves_are_equal_whatever_time_they_took():
    one, other = History((record(seconds=1.0),)), History((record(seconds=2.0),))
    assert one != other
    assert one.equal_curves(other)
    assert not one.equal_curves(History((record(loss=math.nextafter(0.7, 1)),)))
    assert not one.equal_curves(History())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda frame: frame.drop(columns="loss"), "lacks the columns loss"),
        (lambda frame: frame.assign(epoch=[1, 1]), "must be followed by 2"),
        (lambda frame: frame.assign(accuracy=[0.5, 7.0]), "accuracy must be from 0 to 1"),
        (lambda frame: frame.assign(val_loss=[None, 0.1]), "come together"),
        (lambda frame: frame.assign(seconds=["one", "two"]), "damaged"),
    ],
)
def test_a_damaged_frame_is_named(damage, message):
    frame = History((record(1), record(2))).to_frame()
    with pytest.raises(StorageError, match=message):
        History.from_frame(damage(pandas.DataFrame(frame)))
