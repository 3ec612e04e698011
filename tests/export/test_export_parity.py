"""The parity check: its arithmetic, and where its images come from."""

import shutil

import numpy as np
import pytest

from kit.config import DataConfig, RunConfig
from kit.csv_tables import make_table
from kit.errors import DataError
from kit.export.parity import ParityImages, compare, compare_files, parity_images
from kit.run_writer import RunWriter

ORIGINAL = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.2, 0.6, 0.2]], np.float32)
IMAGES = ParityImages("test", (), np.array([0, 1, 0, 2]))  # the original is right on two of four


def moved(row: int, *by: float) -> np.ndarray:
    changed = ORIGINAL.copy()
    changed[row] += np.array(by, np.float32)
    return changed


@pytest.mark.parametrize(
    ("exported", "difference", "agreement", "accuracy", "passed"),
    [
        pytest.param(ORIGINAL, 0.0, 1.0, 0.5, True, id="the same"),
        pytest.param(moved(1, 0, -5e-5, 5e-5), 5e-5, 1.0, 0.5, True, id="within the tolerance"),
        pytest.param(moved(1, 0, -2e-4, 2e-4), 2e-4, 1.0, 0.5, False, id="beyond it, though every class is the same"),
        pytest.param(moved(0, -0.6, 0.6, 0), 0.6, 0.75, 0.25, False, id="another class, a right one less"),
        pytest.param(moved(2, 0.2, 0, -0.2), 0.2, 0.75, 0.75, False, id="another class, a right one more"),
        pytest.param(moved(3, np.nan, 0, 0), None, 0.75, 0.5, False, id="not a number"),
        pytest.param(moved(3, np.inf, 0, 0), None, 0.75, 0.5, False, id="infinite"),
        pytest.param(ORIGINAL[:, :2], None, 0.75, 0.75, False, id="a class is missing"),
    ],
)
def test_how_far_two_models_agree(exported, difference, agreement, accuracy, passed):
    parity = compare(IMAGES, ORIGINAL, exported)
    if difference is None:
        assert parity.greatest_difference is None
    else:
        assert parity.greatest_difference == pytest.approx(difference, abs=1e-7)
    assert (parity.agreement, parity.accuracy, parity.original_accuracy) == (agreement, accuracy, 0.5)
    assert parity.passed is passed
    assert parity.accuracy_interval[0] <= accuracy <= parity.accuracy_interval[1]


@pytest.mark.parametrize(
    ("exported", "allowed", "passed"),
    [
        pytest.param(moved(1, 0, -0.1, 0.0), 0.0, True, id="off, but as accurate"),
        pytest.param(moved(0, -0.6, 0.6, 0), 0.25, True, id="one of four lost, as allowed"),
        pytest.param(moved(0, -0.6, 0.6, 0), 0.2, False, id="one of four lost, more than allowed"),
        pytest.param(moved(2, 0.2, 0, -0.2), 0.0, True, id="one more is right"),
        pytest.param(moved(3, np.nan, 0, 0), 1.0, False, id="not a number"),
    ],
)
def test_smaller_numbers_may_lose_some_accuracy(exported, allowed, passed):
    parity = compare(IMAGES, ORIGINAL, exported, allowed_loss=allowed)
    assert parity.passed is passed
    assert parity.to_dict()["allowed_loss"] == allowed
    if not passed and allowed == 0.2:
        assert parity.describe().startswith("accuracy falls from 0.500 to 0.250, by 0.250 where 0.2 is allowed; 75.0%")


@pytest.mark.parametrize(
    ("off", "difference", "passed"),
    [(0.0, 0.0, True), (5e-4, 5e-4, True), (-2e-3, 2e-3, False), (np.nan, np.inf, False), (np.inf, np.inf, False)],
)
def test_the_strangeness_is_compared_as_well(off, difference, passed):
    """However alike the probabilities are, and where a loss of accuracy is allowed."""
    known = np.array([0.5, 1.0, 1.5, 8.0], np.float32)
    told = known + np.array([0, off, 0, 4 * off], np.float32)  # beyond 1 a share of the original's
    parity = compare(IMAGES, ORIGINAL, ORIGINAL, strangeness=(known, told))
    assert parity.strangeness_difference == pytest.approx(difference, rel=1e-3)
    assert parity.passed is passed
    assert parity.describe().startswith("a probability" if passed else "a strangeness is off by ")
    assert compare(IMAGES, ORIGINAL, ORIGINAL, allowed_loss=1.0, strangeness=(known, told)).passed is passed
    assert parity.to_dict()["strangeness_tolerance"] == 1e-3
    assert not compare(IMAGES, ORIGINAL, ORIGINAL).to_dict().keys() & {
        "strangeness_difference",
        "strangeness_tolerance",
    }


def test_a_runtime_that_decodes_files_by_itself_is_compared_where_it_can_read_them():
    exported = moved(0, -0.1, 0.1, 0)
    exported[2] += np.array([0.2, 0, -0.2], np.float32)  # another class
    exported[3] = np.nan
    told = compare_files(ORIGINAL, exported, np.array([1.0, 0.0, 2.0, np.nan]))
    assert (told["photos"], told["unreadable"], told["pixels_off_by"]) == (4, 1, 1.0)
    assert told["agreement"] == pytest.approx(2 / 3)
    assert told["greatest_difference"] == pytest.approx(0.2, abs=1e-6)
    assert told["median_difference"] == pytest.approx(0.1, abs=1e-6)
    none = compare_files(ORIGINAL, np.full_like(ORIGINAL, np.nan), np.full(4, np.nan))
    assert (none["unreadable"], none["agreement"], none["greatest_difference"]) == (4, None, None)


@pytest.fixture
def recorded(images, tmp_path):
    """A run's record of some of the images, and the folder they lie in: `recorded(splits)` with a split for each."""

    def make(*splits: str | None) -> RunWriter:
        data = tmp_path / "photos"
        shutil.copytree(images, data)
        run = RunWriter.create(tmp_path / "run", RunConfig(data=DataConfig(path=str(data))))
        run.update_manifest(classes=["blue", "green", "red"])
        paths = [f"green/{i:04d}.jpg" for i in range(len(splits))]
        dropped = [None if split else "exact-duplicate" for split in splits]
        columns = {"path": paths, "label": ["green"] * len(splits), "split": splits, "group": paths, "finding": dropped}
        run.write_samples(make_table(columns))
        return run

    return make


def test_the_images_are_those_of_the_test_split_in_the_order_of_the_record(recorded):
    run = recorded("test", "train", "test", None, "validation")
    found = parity_images(run)
    assert found.split == "test"
    assert [file.name for file in found.files] == ["0000.jpg", "0002.jpg"]
    assert all(file.is_file() for file in found.files)
    np.testing.assert_array_equal(found.labels, [1, 1])


def test_without_test_images_those_of_validation_are_taken(recorded):
    assert parity_images(recorded("train", "validation")).split == "validation"


def test_images_that_are_gone_are_named(recorded):
    run = recorded("test", "test", "train")
    (run.path.parent / "photos" / "green" / "0001.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 test images of .* are no longer in .*: green/0001\.jpg\.\n.*back"):
        parity_images(run)


def test_a_folder_of_images_that_is_gone_is_named(recorded):
    run = recorded("test")
    shutil.rmtree(run.path.parent / "photos")
    with pytest.raises(DataError, match=r"The images of .* cannot be read: There is no "):
        parity_images(run)
