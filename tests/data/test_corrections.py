"""Corrections of labels: what a file of them does to a source, what is refused, and that splits stay."""

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from image_files import make_images
from kit.config import DataConfig, RunConfig, SplitConfig
from kit.csv_tables import CORRECTION_COLUMNS, escape_cell
from kit.data.corrections import Correction, read_corrections
from kit.data.dataset import build_dataset
from kit.data.sources import load_samples
from kit.errors import DataError

CLASSES = ("daisy", "rose", "tulip")


@pytest.fixture(scope="module")
def garden(tmp_path_factory):
    """Three classes of 20 images each; never write into it."""
    return make_images(tmp_path_factory.mktemp("corrections") / "garden", CLASSES, 20, size=48)


@pytest.fixture
def write(tmp_path):
    """Writes corrections.csv: `write((path, label, action, new_label), ...)`; returns its path as text."""

    def written(*rows, header=CORRECTION_COLUMNS, name="corrections.csv", encoding="utf-8", delimiter=","):
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        (tmp_path / name).write_bytes(text.getvalue().encode(encoding, errors="surrogateescape"))
        return str(tmp_path / name)

    return written


def labels(source):
    return {sample.path: sample.label for sample in source.samples}


# === What they do ===


def test_images_are_relabelled_dropped_and_kept(garden, write):
    before = load_samples(str(garden))
    file = write(
        ("rose/0000.jpg", "rose", "relabel", "tulip"),
        ("rose/0001.jpg", "rose", "drop", ""),
        ("daisy/0002.jpg", "daisy", "keep", ""),
    )
    source = load_samples(str(garden), corrections=file)
    expected = labels(before) | {"rose/0000.jpg": "tulip"}
    del expected["rose/0001.jpg"]
    assert labels(source) == expected
    said = source.corrections.describe()
    assert said["file"] == "corrections.csv"
    assert (said["relabelled"], said["dropped"], said["kept"]) == (1, 1, 1)
    assert source.tree[-1] == f"corrections.csv (SHA-256 {said['sha256'][:12]}...): 1 relabelled, 1 dropped, 1 kept"
    assert source.corrections.listed == before.samples


@pytest.mark.parametrize("kind", ["splits", "table", "archive"])
def test_any_source_takes_them_by_its_own_paths(garden, write, tmp_path, kind):
    if kind == "splits":
        for split in ("train", "val"):
            shutil.copytree(garden, tmp_path / "data" / split)
        place, path = tmp_path / "data", "val/rose/0000.jpg"
    elif kind == "table":
        rows = [f"{path},{label}" for path, label in labels(load_samples(str(garden))).items()]
        shutil.copytree(garden, tmp_path / "data")
        place, path = tmp_path / "data" / "labels.csv", "rose/0000.jpg"
        place.write_text("\n".join(["path,label", *rows]) + "\n")
    else:
        place, path = tmp_path / "garden.zip", "rose/0000.jpg"
        shutil.make_archive(str(tmp_path / "garden"), "zip", garden.parent, "garden")
        path = next(path for path in labels(load_samples(str(place))) if path.endswith(path))
    label = labels(load_samples(str(place)))[path]
    source = load_samples(str(place), corrections=write((path, label, "relabel", "tulip")))
    (changed,) = [one for one, was in zip(source.samples, source.corrections.listed, strict=True) if one != was]
    assert (changed.path, changed.label) == (path, "tulip")
    assert changed.split == ("validation" if kind == "splits" else None)


def test_a_file_that_a_spreadsheet_saved_is_read(garden, write):
    row = ("rose/0000.jpg", "rose", "Relabel ", "tulip")
    for options in ({"encoding": "utf-8-sig"}, {"encoding": "utf-16"}, {"delimiter": ";"}):
        assert labels(load_samples(str(garden), corrections=write(row, **options)))["rose/0000.jpg"] == "tulip"
    file = write(("0", *row, "seen twice"), (), header=("number", *CORRECTION_COLUMNS, "remark"))
    assert read_corrections(Path(file)) == (Correction("rose/0000.jpg", "rose", "relabel", "tulip"),)


def test_names_of_any_kind_find_their_images(write, tmp_path):
    folder = make_images(tmp_path / "data", ("=cmd()", "'quoted'", "Möwe"), 3, size=48)
    (folder / "Möwe" / "0000.jpg").rename(folder / "Möwe" / '+a, "b"\n.jpg')
    named = labels(load_samples(str(folder)))
    rows = [tuple(escape_cell(cell) for cell in (path, label, "drop")) for path, label in named.items()]
    kept = [row for row in rows if not row[0].endswith(("0001.jpg", "0002.jpg"))]
    assert len(kept) == 3
    source = load_samples(str(folder), corrections=write(*((*row, "") for row in kept)))
    assert len(source.samples) == 6


def test_a_class_that_loses_its_last_image_is_gone_and_said_so(garden, write):
    rows = [(path, label, "relabel", "tulip") for path, label in labels(load_samples(str(garden))).items()]
    source = load_samples(str(garden), corrections=write(*(row for row in rows if row[1] == "rose")))
    assert source.classes == ("daisy", "tulip")
    assert source.tree[-1].endswith("; no image of rose is left")
    with pytest.raises(DataError, match="one class only"):
        load_samples(str(garden), corrections=write(*rows))


def test_a_file_of_corrections_is_no_table_of_images(garden, write, tmp_path):
    place = shutil.copytree(garden, tmp_path / "data")
    images = [f"{path},{label}" for path, label in labels(load_samples(str(garden))).items()]
    (tmp_path / "data" / "all").mkdir()
    for label in CLASSES:
        shutil.move(place / label, tmp_path / "data" / "all" / label)
    (place / "labels.csv").write_text("\n".join(["path,label", *(f"all/{row}" for row in images)]) + "\n")
    shutil.copy(write(("all/rose/0000.jpg", "rose", "drop", "")), place / "corrections.csv")
    assert len(load_samples(str(place)).samples) == 60
    with pytest.raises(DataError, match="holds corrections of labels, not images"):
        load_samples(str(place / "corrections.csv"))


# === What is refused ===

ROSE = ("rose/0000.jpg", "rose")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(*ROSE, "keep", ""), ("rose/9.jpg", "rose", "drop", "")], r"does not have: row 3 \(rose/9.jpg\)"),
        ([("garden/rose/0000.jpg", "rose", "drop", "")], "such as daisy/0000.jpg: name the same folder"),
        ([(*ROSE, "remove", "")], r"does not know: row 2 \(remove\).*\nAn action is keep, relabel or drop"),
        ([(*ROSE, "", "")], r"row 2 \(none\)"),
        ([(*ROSE, "relabel", "")], "without saying as what"),
        ([(*ROSE, "drop", "tulip")], "that it does not relabel"),
        ([("rose/0000.jpg", "daisy", "keep", "")], r"rose/0000.jpg is rose, not daisy"),
        ([(*ROSE, "keep", ""), (*ROSE, "drop", "")], r"two things of one image: row 3 \(rose/0000.jpg\)"),
        ([(*ROSE, "relabel", "tulip"), (*ROSE, "relabel", "daisy")], "two things of one image"),
        (
            [(*ROSE, "relabel", "tulips")],
            r"no class of garden: row 2 \(tulips\).*\nThe classes are daisy, rose, tulip. The nearest to tulips is tu",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_message(garden, write, rows, said):
    with pytest.raises(DataError, match=said) as refused:
        load_samples(str(garden), corrections=write(*rows))
    assert "corrections.csv" in str(refused.value)


def test_a_file_that_is_none_is_refused(garden, write, tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        load_samples(str(garden), corrections=str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match="lacks the columns action, new_label"):
        load_samples(str(garden), corrections=write(ROSE, header=("path", "label")))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="is empty"):
        load_samples(str(garden), corrections=str(tmp_path / "empty.csv"))


def test_rows_that_agree_are_one(garden, write):
    source = load_samples(str(garden), corrections=write((*ROSE, "drop", ""), (*ROSE, "drop", "")))
    assert source.corrections.describe()["dropped"] == 1
    assert len(source.samples) == 59


# === Splits ===


def dataset_of(garden, file="", **settings):
    data = DataConfig(path=str(garden), corrections=file, conflicts=settings.pop("conflicts", "refuse"))
    config = RunConfig(data=data, split=SplitConfig(**settings))
    return build_dataset(load_samples(str(garden), corrections=file), config)


def split_of(dataset):
    parts = dataset.splits.tolist() if dataset.folds is None else dataset.folds.tolist()
    return dict(zip(dataset.paths, parts, strict=True))


@pytest.mark.parametrize("settings", [{}, {"method": "hash"}, {"folds": 4}])
def test_an_image_keeps_its_split_whatever_is_corrected(garden, write, settings):
    before = split_of(dataset_of(garden, **settings))
    rows = [(f"rose/{n:04d}.jpg", "rose", "relabel", "tulip") for n in range(7)]
    rows += [(f"daisy/{n:04d}.jpg", "daisy", "drop", "") for n in range(9)]
    corrected = dataset_of(garden, write(*rows), **settings)
    after = split_of(corrected)
    assert after == {path: split for path, split in before.items() if path in after}
    assert len(after) == 51
    number = corrected.classes.index("tulip")
    assert corrected.labels[corrected.paths.index("rose/0000.jpg")] == number


def test_without_the_corrections_kept_in_mind_images_would_move(garden, write):
    """What the test before guards against: a split drawn anew for the corrected labels is another one."""
    rows = [(f"rose/{n:04d}.jpg", "rose", "relabel", "tulip") for n in range(7)]
    source = load_samples(str(garden), corrections=write(*rows))
    anew = split_of(build_dataset(replace(source, corrections=None), RunConfig()))
    assert anew != split_of(dataset_of(garden))


def test_a_conflict_is_resolved_and_its_image_used(garden, write, tmp_path):
    place = shutil.copytree(garden, tmp_path / "data")
    shutil.copy(place / "rose/0003.jpg", place / "tulip/copy.jpg")
    with pytest.raises(DataError, match=r"lie under two labels.*\n.*--corrections"):
        dataset_of(place)
    file = write(("tulip/copy.jpg", "tulip", "drop", ""), ("rose/0003.jpg", "rose", "keep", ""))
    used = dataset_of(place, file)
    assert "rose/0003.jpg" in used.paths
    assert "tulip/copy.jpg" not in used.paths
    assert "conflict" not in {finding.kind for finding in used.findings}
    left_out = split_of(dataset_of(place, conflicts="drop"))
    assert {path: split_of(used)[path] for path in left_out} == left_out
    both = dataset_of(place, write(("tulip/copy.jpg", "tulip", "relabel", "rose")))
    assert split_of(both)["tulip/copy.jpg"] == split_of(both)["rose/0003.jpg"]


def test_a_copy_that_gets_the_label_of_its_twin_is_tested_with_it(garden, write, tmp_path):
    """Groups stay whole: where two splits would divide one, all of it goes to the later one, which is measured."""
    place = shutil.copytree(garden, tmp_path / "data")
    before = split_of(dataset_of(garden))
    tested = next(path for path, split in before.items() if split == "test" and path.startswith("rose"))
    with Image.open(place / tested) as image:  # alike enough for one label, not for two
        image.resize((36, 36)).point(lambda value: min(255, int(value * 1.3))).save(
            place / "tulip/twin.jpg", quality=40
        )
    first = dataset_of(place)
    groups = dict(zip(first.paths, first.groups, strict=True))
    if groups["tulip/twin.jpg"] == groups[tested]:
        pytest.fail("the twin is too alike: it must be no near copy under another label")
    after = dataset_of(place, write(("tulip/twin.jpg", "tulip", "relabel", "rose")))
    groups = dict(zip(after.paths, after.groups, strict=True))
    assert groups["tulip/twin.jpg"] == groups[tested]
    assert split_of(after)["tulip/twin.jpg"] == split_of(after)[tested] == "test"


def test_given_splits_are_kept(garden, write, tmp_path):
    for split, numbers in {"train": range(14), "test": range(14, 20)}.items():
        for label in CLASSES:
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for n in numbers:
                shutil.copy(garden / label / f"{n:04d}.jpg", tmp_path / "data" / split / label)
    before = split_of(dataset_of(tmp_path / "data"))
    assert set(before.values()) == {"train", "validation", "test"}
    rows = [(f"train/rose/{n:04d}.jpg", "rose", "relabel", "tulip") for n in range(6)]
    rows += [("test/rose/0015.jpg", "rose", "relabel", "daisy"), ("train/daisy/0000.jpg", "daisy", "drop", "")]
    after = split_of(dataset_of(tmp_path / "data", write(*rows)))
    assert after == {path: split for path, split in before.items() if path != "train/daisy/0000.jpg"}
