"""What a program holds in memory becomes data like any others: kept once, found again, refused where it was scaled."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import kit
from doubles import swap
from image_files import draw_image
from kit.data.sources import load_samples
from kit.errors import DataError
from small_settings import SMALL


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


def test_a_study_takes_what_training_takes(monkeypatch):
    import search.api

    def stop(spec):
        raise kit.UserError(spec.config.data.path)

    swap(monkeypatch, search.api, "prepare", stop)
    with pytest.raises(kit.UserError) as caught:
        search.run_study((X, Y), trials=1)
    assert caught.value.what == kit.configure(X, Y).data.path


# === Trained ===


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


# === Data sets of other libraries ===


class Items:
    """A data set of PyTorch: `__len__` and `__getitem__`, which gives (image, label)."""

    def __init__(self, images, labels, classes=()):
        self.images, self.labels = images, labels
        if classes:
            self.classes = list(classes)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        if i >= len(self):
            raise IndexError(i)
        return self.images[i], self.labels[i]


class Loader:
    """A data loader of PyTorch: iterates over batches of its `dataset`, in another order each time."""

    def __init__(self, dataset, size=4, collate=np.stack):
        self.dataset, self.size, self.collate, self.epoch = dataset, size, collate, 0

    def __len__(self):
        return -(-len(self.dataset) // self.size)

    def __iter__(self):
        self.epoch += 1
        order = np.random.default_rng(self.epoch).permutation(len(self.dataset))
        for start in range(0, len(order), self.size):
            images, labels = zip(*(self.dataset[i] for i in order[start : start + self.size]), strict=True)
            yield [self.collate(images), np.array(labels)]


class Encoded:
    """A feature of Hugging Face of images: pixels, or with `decode=False` the bytes of the files."""

    def __init__(self, decode=True):
        self.decode = decode


class Names:
    """A feature of Hugging Face of labels."""

    names = ("ant", "bee")


class Columns:
    """A data set of Hugging Face: `features`, `column_names`, rows as dictionaries."""

    def __init__(self, files, labels, decode=True):
        self.files, self.labels = files, labels
        self.features = {"img": Encoded(decode), "label": Names()}
        self.column_names = list(self.features)

    def cast_column(self, name, feature):
        return Columns(self.files, self.labels, feature.decode)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        file = self.files[i]
        image = Image.open(file) if self.features["img"].decode else {"bytes": None, "path": str(file)}
        return {"img": image, "label": self.labels[i]}


NUMBERS = np.array([0, 1, 0, 1])


def test_a_map_style_data_set_is_kept_in_its_order():
    dataset = Items([Image.fromarray(one) for one in X], NUMBERS.tolist(), ["ant", "bee"])
    found = samples_of(dataset)
    assert [sample.label for sample in found.values()] == ["ant", "bee", "ant", "bee"]
    for i, sample in enumerate(found.values()):
        np.testing.assert_array_equal(pixels_of(sample), X[i])


def test_a_loader_that_shuffles_is_kept_once():
    dataset = Items(list(noise(10, 3, 9, 8)), [0, 1] * 5, ["ant", "bee"])  # channels first
    loader = Loader(dataset)
    first = kit.configure(loader).data.path
    assert kit.configure(loader).data.path == first
    assert kit.configure(Loader(dataset, 3, collate=list)).data.path == first
    found = load_samples(first).samples
    kept = {pixels_of(sample).tobytes(): sample.label for sample in found}
    expected = {np.ascontiguousarray(np.moveaxis(x, 0, 2)).tobytes(): ("ant", "bee")[y] for x, y in iter_of(dataset)}
    assert kept == expected


def iter_of(dataset):
    return (dataset[i] for i in range(len(dataset)))


def test_grey_batches_and_single_images_with_one_hot_labels_are_told_apart():
    grey = noise(6, 9, 8)
    batches = samples_of(Loader(Items(grey, [0, 1] * 3), 3))
    assert sorted(pixels_of(one).tobytes() for one in batches.values()) == sorted(one.tobytes() for one in grey)
    single = samples_of(Items(X, np.eye(2)[NUMBERS]))
    assert [sample.label for sample in single.values()] == ["0", "1", "0", "1"]


def test_an_iterable_data_set_is_iterated():
    class IterableDataset(Items):  # of PyTorch: __getitem__ is inherited, and refuses
        def __getitem__(self, i):
            raise NotImplementedError

        def __iter__(self):
            return zip(self.images, self.labels, strict=True)

    assert sorted(one.label for one in samples_of(IterableDataset(X, Y)).values()) == ["a", "a", "b", "b"]
    assert len(samples_of(zip(X, Y, strict=True))) == 4


def test_a_hugging_face_data_set_keeps_its_files_and_names(images):
    files = sorted(images.rglob("*.jpg"))[:4]
    found = samples_of({"train": Columns(files, [0, 1, 0, 1]), "test": Columns(files[:2], [-1, -1])})
    assert [sample.label for sample in found.values()] == ["ant", "bee", "ant", "bee"]  # -1: without a label
    assert [sample.file.read_bytes() for sample in found.values()] == [file.read_bytes() for file in files]
    assert list(found) == [f"train/{i}.jpg" for i in range(4)]


def test_dictionaries_are_read_by_usual_names_or_by_those_given():
    rows = [{"image": x, "coarse": 0, "breed": str(y), "group": "g"} for x, y in zip(X, NUMBERS, strict=True)]
    found = samples_of(rows, columns="label=breed")
    assert [(sample.label, sample.group) for sample in found.values()] == [("0", "g"), ("1", "g")] * 2
    with pytest.raises(DataError, match=r"No column of the data set is the label: it has image, coarse, breed, group"):
        samples_of(rows)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Items(X.astype("float32") / 255, NUMBERS), "scaled or preprocessed already"),
        (Loader(Items(X.astype("float32") / 127.5 - 1, NUMBERS)), "scaled or preprocessed already"),
        (Items(["a.jpg"] * 4, NUMBERS), "gives str for an image"),
        (list(X), "not pairs of image and label"),
        (Items(X, [3] * 4, ["ant", "bee"]), "Label 3 has no name: there are 2"),
        (Items([], []), "No labelled images"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_one_message(dataset, message):
    with pytest.raises(DataError, match=message):
        kit.configure(dataset)


@pytest.mark.backend
@pytest.mark.once(backend="jax")
def test_a_keras_pydataset_is_read():
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return X[2 * i : 2 * i + 2].astype("float32"), NUMBERS[2 * i : 2 * i + 2, None], np.ones(2)

    found = samples_of(Batches())
    assert [sample.label for sample in found.values()] == ["0", "1", "0", "1"]
    np.testing.assert_array_equal(pixels_of(found["3.png"]), X[3])


def test_a_row_that_names_a_missing_file_is_one_message():
    class Rows:
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return {"image": {"bytes": None, "path": "/nowhere/a.jpg"}, "label": i}

    with pytest.raises(DataError, match=r"names the image /nowhere/a\.jpg, which cannot be read: No such file"):
        kit.configure(Rows())


@pytest.mark.backend
@pytest.mark.once(backend="tensorflow")
def test_a_tf_data_set_is_read(images, toy_weights, tmp_path):
    tf = pytest.importorskip("tensorflow", reason="tf.data needs TensorFlow")
    import keras

    batches = keras.utils.image_dataset_from_directory(images, image_size=(48, 40), batch_size=5, seed=1)
    found = samples_of(batches)
    assert {sample.label for sample in found.values()} == {"blue", "green", "red"}
    assert len(found) == 72
    assert kit.configure(batches).data.path == kit.configure(batches).data.path  # shuffled anew each time
    pairs = tf.data.Dataset.from_tensor_slices((X, ["a", "b", "a", "b"]))
    assert sorted(sample.label for sample in samples_of(pairs).values()) == ["a", "a", "b", "b"]
    assert len(samples_of(pairs.batch(3).prefetch(1))) == 4
    with pytest.raises(DataError, match="repeats for ever"):
        kit.configure(pairs.repeat())
    with pytest.raises(DataError, match="scaled or preprocessed already"):
        kit.configure(batches.map(lambda x, y: (x / 255, y)))
    trained_on(batches, 72, toy_weights, tmp_path)


def test_torch_itself(toy_weights, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: its protocols alone are tested")
    x, y = torch.from_numpy(np.moveaxis(X, 3, 1).copy()), torch.from_numpy(NUMBERS)
    dataset = torch.utils.data.TensorDataset(x, y)
    np.testing.assert_array_equal(pixels_of(samples_of(dataset)["2.png"]), X[2])
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, shuffle=True)
    assert len(samples_of(loader)) == 4
    assert kit.configure(x, y).data.path == kit.configure(X, NUMBERS).data.path
    many = torch.utils.data.TensorDataset(torch.from_numpy(noise(40, 3, 32, 32)), torch.arange(40) % 2)
    trained_on(torch.utils.data.DataLoader(many, batch_size=7, shuffle=True), 40, toy_weights, tmp_path)


def trained_on(data, images, toy_weights, tmp_path):
    """Trains the toy on a data set of a library."""
    run = kit.train(data, tmp_path / "run", weights=toy_weights, **SMALL)
    assert len(run.samples) == images
    assert run.metrics["test"]["n"] == (run.samples["split"] == "test").sum() > 0


def test_hugging_face_itself(images, toy_weights, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: its protocol alone is tested")
    files = [str(file) for file in sorted(images.rglob("*.jpg"))[:4]]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    dataset = datasets.Dataset.from_dict({"image": files, "label": [0, 1, 0, 1]}, features=features)
    found = samples_of(datasets.DatasetDict({"train": dataset, "validation": dataset.select([0, 1])}))
    assert [sample.split for sample in found.values()] == ["train"] * 4 + ["validation"] * 2
    assert [sample.label for sample in found.values()] == ["ant", "bee", "ant", "bee", "ant", "bee"]
    labelled = {"image": [str(file) for file in sorted(images.rglob("*.jpg"))], "label": [0] * 24 + [1] * 24 + [0] * 24}
    trained_on(datasets.Dataset.from_dict(labelled, features=features), 72, toy_weights, tmp_path)
