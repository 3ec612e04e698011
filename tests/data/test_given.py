"""What a program holds in memory becomes data like any others: kept once, found again, refused where it was scaled."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import kit
from image_files import draw_image
from kit.data.sources import load_samples
from kit.errors import DataError


def noise(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def samples_of(*given, **settings):
    """Samples of what is given to kit.configure, by recorded path."""
    config = kit.configure(*given, **settings).data
    return {sample.path: sample for sample in load_samples(config.path, config.columns).samples}


def pixels_of(sample):
    with Image.open(sample.file) as image:
        return np.asarray(image)


@pytest.mark.parametrize("shape", [(9, 8, 3), (9, 8), (9, 8, 1), (9, 8, 4)])
def test_arrays_are_kept_without_loss_under_the_number_of_their_row(shape):
    x, y = noise(12, *shape), ["cat", "dog", "emu"] * 4
    found = samples_of(x, y)
    assert [(path, sample.label) for path, sample in found.items()] == [(f"{i:02}.png", y[i]) for i in range(12)]
    for i, sample in enumerate(found.values()):
        np.testing.assert_array_equal(pixels_of(sample), x[i].squeeze())


def test_the_same_content_is_kept_once_and_said_in_a_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    x, y = noise(6, 9, 8, 3), np.array([[0], [1]] * 3)  # labels as keras.datasets has them
    first = kit.configure(x, y).data.path
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("6 images given in memory are kept in ")
    assert os.path.dirname(first) in line
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    for again in (x.copy(), x.astype("float32"), np.moveaxis(x, 3, 1), [Image.fromarray(one) for one in x]):
        path = kit.configure((again, y.tolist())).data.path
        if not isinstance(again, list):
            assert path == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert kit.configure(x, y[::-1]).data.path != first
    assert not list(tmp_path.rglob(".tmp-*"))


def test_number_k_is_class_k_of_the_model():
    x = noise(22, 8, 8)
    for y in (np.arange(22) % 11, np.eye(11)[np.arange(22) % 11], pd.Series(np.arange(22) % 11, dtype="category")):
        config = kit.configure(x, y)
        assert [int(name) for name in load_samples(config.data.path).classes] == list(range(11))


def test_splits_are_a_dictionary_of_pairs():
    x, y = noise(8, 8, 8, 3), ["a", "b"] * 4
    found = samples_of({"train": (x[:4], y[:4]), "val": (x[4:6], y[4:6]), "test": (list(x[6:]), y[6:])})
    splits = [sample.split for sample in found.values()]
    assert sorted(splits) == ["test"] * 2 + ["train"] * 4 + ["validation"] * 2
    assert found["validation/1.png"].label == "b"


def test_bytes_of_files_are_kept_as_they_are(images):
    files = sorted((images / "red").glob("*.jpg"))[:2] + sorted((images / "blue").glob("*.jpg"))[:2]
    found = samples_of([file.read_bytes() for file in files], ["red", "red", "blue", "blue"])
    assert [sample.file.read_bytes() for sample in found.values()] == [file.read_bytes() for file in files]
    assert list(found) == [f"{i}.jpg" for i in range(4)]


X, Y = noise(4, 8, 8, 3), ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            (X / 255, Y),
            r"0 to 255, and these are float64 from \S+ to \S+: scaled or preprocessed.*\n.*uint8",
        ),
        ((X / 127.5 - 1, Y), "from -1 to .*: scaled or preprocessed already"),
        ((X.astype("float32") * 1.5, Y), "scaled or preprocessed already"),
        ((X // 128, Y), "from 0 to 1: scaled"),
        ((np.full((4, 8, 8, 3), np.nan), Y), "scaled or preprocessed"),
        ((X > 9, Y), "not bool"),
        ((X[:, :, :, :2], Y), r"shape \(8, 8, 2\)"),
        ((X, Y[:3]), "4 images and 3 labels"),
        ((X,), "without labels"),
        ((X, [0.5, 1, 0, 1]), r"whole number or a text, not .*0\.5"),
        ((X, [[1, 1], [0, 1], [1, 0], [1, 0]]), "names no one class"),
        ((X, ["a", "", "a", "b"]), "empty label"),
        (({"train": (X, Y), "left": (X, Y)},), "'left' is no split"),
        (({"train": X},), "without labels"),
        ((["a.jpg", "b.jpg"], [0, 1]), "paths are given in a DataFrame"),
        ((42,), "cannot be read from int"),
    ],
)
def test_what_is_refused_is_one_message_and_leaves_nothing(given, message, monkeypatch, tmp_path):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=message):
        kit.configure(*given)
    assert not [*tmp_path.rglob("*.csv"), *tmp_path.rglob(".tmp-*")]


def test_a_wrong_setting_is_told_before_images_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    with pytest.raises(kit.UserError, match="no setting vews"):
        kit.configure(X, Y, vews=2)
    assert not list(tmp_path.rglob("*"))


def test_what_was_removed_from_the_cache_is_told_and_kept_again(monkeypatch, tmp_path):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    path = kit.configure(X, Y).data.path
    shutil.rmtree(tmp_path / "given")
    with pytest.raises(DataError, match=r"kept what a program gave in memory\.\n.*again"):
        load_samples(path)
    assert kit.configure(X, Y).data.path == path
    load_samples(path)


@pytest.fixture
def here(images, monkeypatch):
    monkeypatch.chdir(images)
    return images


def test_a_dataframe_is_read_as_its_table_would_be(here):
    files = [file.relative_to(here) for file in sorted(here.rglob("*.jpg"))]
    frame = pd.DataFrame({"file_name": files, "breed": [file.parent.name for file in files]})
    frame["split"] = ["val" if i % 4 == 0 else None for i in range(len(frame))]
    frame["group"] = [f"g{i // 2}" if i % 8 else np.nan for i in range(len(frame))]
    found = samples_of(frame, columns="label=breed")
    assert list(found) == list(map(str, files))
    assert found["blue/0000.jpg"].split == "validation"
    assert (found["blue/0000.jpg"].group, found["blue/0001.jpg"].group) == (None, "g0")
    assert {sample.label for sample in found.values()} == {"blue", "green", "red"}
    assert all(sample.file == here / path for path, sample in found.items())
    marks = pd.get_dummies(frame["breed"]).assign(path=[here / file for file in files])  # one-hot, absolute
    assert {path: sample.label for path, sample in samples_of(marks).items()} == {
        path: sample.label for path, sample in found.items()
    }
    indexed = frame.rename(columns={"breed": "label"}).set_index("file_name")
    assert samples_of(indexed) == found


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": ["a", "b"]}, r"The DataFrame lacks the column path; it has label"),
        ({"path": ["red/0000.jpg", "blue/0000.jpg"]}, "lacks the column label"),
        ({"path": ["red/0000.jpg", None], "label": ["a", "b"]}, r"no path in row 1 \(the first row is 0\)"),
        ({"path": ["red/0000.jpg", "blue/0000.jpg"], "label": ["a", np.nan]}, "no label in row 1"),
        ({"path": ["red/0000.jpg"] * 2, "label": ["a", "b"]}, "another row has too in rows 0, 1"),
        ({"path": ["0000", "0001"], "label": ["a", "b"]}, r"None of the 2 files .*\n.*with their suffix"),
        ({"path": [], "label": []}, "no rows"),
        ({"path": ["red/0000.jpg"], "label": ["a"], "split": ["left"]}, "unknown split"),
    ],
)
def test_a_dataframe_that_cannot_be_read_is_one_message(here, columns, message):
    with pytest.raises(DataError, match=message):
        kit.configure(pd.DataFrame(columns))


# === Trained ===

SMALL = {
    "image_size": 32,
    "backbone": "toy",
    "views": 1,
    "head_units": 8,
    "batch_size": 16,
    "head_epochs": 2,
    "fine_tune_epochs": 1,
    "unfreeze_depth": 1,
}


def drawn(count=18):
    """Arrays of three classes, the first image of each twice; labels are numbers."""
    x = [draw_image(k, 3, 48, 40, np.random.default_rng([7, k, i])) for i in range(count) for k in range(3)]
    return np.stack([*map(np.asarray, x), *map(np.asarray, x[:3])]), np.array([*range(3)] * (count + 1))


@pytest.fixture(scope="module")
def run(toy_weights, tmp_path_factory):
    """A run on arrays, stopped after its first epoch and resumed."""

    def stop(history):
        raise KeyboardInterrupt

    out = tmp_path_factory.mktemp("given") / "run"
    with pytest.raises(KeyboardInterrupt):
        kit.train(*drawn(), out, weights=toy_weights, on_epoch=stop, **SMALL)
    return kit.resume(out)


@pytest.mark.backend
@pytest.mark.once(backend="jax")
def test_a_run_on_arrays_has_what_any_run_has(run):
    x, y = drawn()
    assert run.manifest["status"] == "finished"
    assert run.report().exists()
    assert run.classes == ("0", "1", "2")
    samples = run.samples.set_index("path")
    assert len(samples) == len(x)
    for copied, copy in (("00.png", "54.png"), ("01.png", "55.png"), ("02.png", "56.png")):
        assert samples.loc[copied, "group"] == samples.loc[copy, "group"]
        assert samples.loc[copied, "split"] == samples.loc[copy, "split"]
    scored = run.predictions
    answers = run.predict([x[int(path.removesuffix(".png"))] for path in scored["path"]])
    assert [one.label for one in answers] == scored["predicted"].tolist()
    assert run.evaluate()["test"]["accuracy"] == run.metrics["test"]["accuracy"]
    done = run.evaluate((x, y), include_seen=True)
    assert done["images"]["new"] == 0
    assert done["images"]["scored"] == len(x)


@pytest.mark.backend
@pytest.mark.once(backend="jax")
def test_arrays_are_found_in_the_stores_again(run, toy_weights, tmp_path):
    before = run.manifest["stages"]
    again = kit.train(drawn(), out=tmp_path / "again", weights=toy_weights, **SMALL)
    assert again.config.data.path == run.config.data.path
    assert again.manifest["stages"].keys() == before.keys()
    pd.testing.assert_frame_equal(again.samples, run.samples)
    assert again.metrics["test"]["accuracy"] == run.metrics["test"]["accuracy"]
