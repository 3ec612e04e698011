"""kit.data.dataset: images listed, audited and split, as training gets them."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from image_files import make_images
from kit.config import DataConfig, RunConfig, SplitConfig
from kit.data.dataset import load_dataset
from kit.errors import DataError
from kit.files import sha256_file


@pytest.fixture
def folder(tmp_path):
    return make_images(tmp_path / "garden", ("daisy", "rose"), 20)


def config(folder, **split) -> RunConfig:
    return RunConfig(data=DataConfig(path=str(folder)), split=SplitConfig(**split))


def test_rows_belong_together(folder):
    dataset = load_dataset(config(folder))
    assert (dataset.name, dataset.classes) == ("garden", ("daisy", "rose"))
    assert len(dataset.paths) == 40
    assert sum(dataset.counts().values()) == 40
    for path, file, key, label in zip(dataset.paths, dataset.files, dataset.keys, dataset.labels, strict=True):
        assert folder / path == file
        assert sha256_file(file) == key
        assert path.startswith(dataset.classes[label] + "/")
    everything = np.concatenate([dataset.indices(split) for split in ("train", "validation", "test")])
    assert sorted(everything) == list(range(40))


def test_rows_still_belong_together_without_a_split(folder):
    whole = load_dataset(config(folder))
    rest = whole.without("test")
    assert set(rest.splits) == {"train", "validation"}
    assert [facts.sha256 for facts in rest.facts] == list(rest.keys) == [sha256_file(file) for file in rest.files]
    assert len(rest.labels) == len(rest.paths) == len(rest.groups) == len(rest.keys) < len(whole.keys)


def test_images_keep_their_splits_when_a_class_comes_and_another_seed_gives_others(folder):
    before = load_dataset(config(folder))
    again = load_dataset(config(folder, seed=1))
    assert again.fingerprint == before.fingerprint
    assert (again.splits != before.splits).any()
    make_images(folder, ("aster", "bluebell"), 20, seed=5)
    after = load_dataset(config(folder))
    where = dict(zip(after.paths, after.splits, strict=True))
    assert [where[path] for path in before.paths] == list(before.splits)
    assert after.fingerprint != before.fingerprint
    assert after.classes == ("aster", "bluebell", "daisy", "rose")


def test_recorded_splits_and_groups_are_taken_as_they_are(folder):
    drawn = load_dataset(config(folder))
    other = load_dataset(config(folder, method="hash", seed=3))
    recorded = drawn.as_recorded(other.table())
    assert (recorded.paths, recorded.keys, recorded.groups) == (other.paths, other.keys, other.groups)
    assert recorded.splits.tolist() == other.splits.tolist() != drawn.splits.tolist()
    with pytest.raises(DataError, match=r"1 images .* rose/0019.jpg"):
        drawn.take(np.arange(39)).as_recorded(other.table())


def test_what_cannot_be_used_is_dropped_and_named(folder):
    (folder / "rose/torn.jpg").write_bytes((folder / "rose/0000.jpg").read_bytes()[:300])
    shutil.copy(folder / "rose/0001.jpg", folder / "daisy/copy.jpg")
    chosen = config(folder)
    with pytest.raises(DataError, match=r"two labels|conflict"):
        load_dataset(chosen)
    dataset = load_dataset(replace(chosen, data=replace(chosen.data, conflicts="drop")))
    assert {row[0] for row in dataset.dropped} == {"rose/torn.jpg", "rose/0001.jpg", "daisy/copy.jpg"}
    assert len(dataset.paths) == 39
    assert not {row[0] for row in dataset.dropped} & set(dataset.paths)


def test_copies_of_one_image_share_a_split(folder):
    for number in range(6):
        shutil.copy(folder / "rose/0002.jpg", folder / f"rose/copy{number}.jpg")
    dataset = load_dataset(config(folder))
    copies = [i for i, path in enumerate(dataset.paths) if "copy" in path or path == "rose/0002.jpg"]
    assert len(copies) == 7
    assert len({str(dataset.splits[i]) for i in copies}) == len({dataset.groups[i] for i in copies}) == 1


def test_a_class_without_a_split_is_warned_about(folder):
    for number in range(1, 20):
        (folder / "rose" / f"{number:04d}.jpg").unlink()
    warnings = load_dataset(config(folder, train=1.0, validation=0.0, test=0.0)).warnings
    assert warnings == ()
    warnings = load_dataset(config(folder)).warnings
    assert (
        "The validation split has no image of rose." in warnings or "The test split has no image of rose." in warnings
    )


def test_no_images_named():
    with pytest.raises(DataError, match="No images were named"):
        load_dataset(RunConfig())
