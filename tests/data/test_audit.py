"""The audit names what is wrong with the data, groups what belongs together, and leaves out what the settings say."""

import multiprocessing
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from doubles import swap
from image_files import make_images
from kit.config import DataConfig
from kit.data.audit import audit, data_fingerprint, exclude
from kit.data.sources import load_samples
from kit.errors import DataError

CONFIG = DataConfig()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path) -> Path:
    """Two classes of four images each, all different."""
    return make_images(tmp_path / "data", ("cat", "dog"), 4)


@pytest.fixture
def split_data(tmp_path, data) -> Path:
    """The same in train/, and others in val/ and test/."""
    shutil.move(data, tmp_path / "split/train")
    make_images(tmp_path / "split/val", ("cat", "dog"), 2, seed=1)
    make_images(tmp_path / "split/test", ("cat", "dog"), 2, seed=2)
    return tmp_path / "split"


def look(folder, config=CONFIG):
    samples = load_samples(str(folder))
    return samples, audit(samples, config, threads=2)


def found(folder, config=CONFIG) -> set[tuple]:
    return {(finding.kind, finding.severity, finding.paths) for finding in look(folder, config)[1].findings}


def group_of(samples, audited) -> dict[str, str]:
    return {sample.path: group for sample, group in zip(samples.samples, audited.groups, strict=True)}


def resaved(source: Path, target: Path, quality=60) -> None:
    with Image.open(source) as image:
        image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(target, quality=quality)


def test_nothing_odd_gives_no_findings(data):
    samples, audited = look(data)
    assert audited.findings == ()
    assert len(set(audited.groups)) == len(samples.samples) == 8
    assert {(fact.width, fact.height, fact.format, fact.mode) for fact in audited.facts} == {(96, 80, "JPEG", "RGB")}
    assert [fact.bytes for fact in audited.facts] == [sample.file.stat().st_size for sample in samples.samples]


def test_size_is_as_displayed(data):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 300), "red").save(data / "cat/turned.jpg", exif=exif)
    samples, audited = look(data)
    fact = audited.facts[[sample.path for sample in samples.samples].index("cat/turned.jpg")]
    assert (fact.width, fact.height) == (300, 400)
    assert fact.mean_colour == pytest.approx((254, 0, 0), abs=2)


def test_files_that_are_no_images_are_named(data):
    (data / "cat/empty.jpg").write_bytes(b"")
    (data / "cat/text.jpg").write_text("a shopping list")
    (data / "dog/cut.jpg").write_bytes((data / "dog/0000.jpg").read_bytes()[:900])
    (data / "dog/broken.jpg").symlink_to(data / "nowhere")
    assert found(data) == {
        ("empty", "error", ("cat/empty.jpg",)),
        ("not-an-image", "error", ("cat/text.jpg",)),
        ("truncated", "error", ("dog/cut.jpg",)),
        ("unreadable", "error", ("dog/broken.jpg",)),
    }


def test_extreme_sizes(data, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    Image.fromarray(noise[:20, :24]).save(data / "cat/small.png")
    Image.fromarray(noise[:40]).save(data / "cat/strip.png")
    Image.fromarray(noise[:20, :20].repeat(25, axis=0).repeat(25, axis=1)).save(data / "dog/huge.png")
    monkeypatch.setattr("kit.data.audit.LARGEST_PIXELS", 500 * 500 - 1)
    assert found(data) == {
        ("extreme-size", "warning", ("cat/small.png",)),
        ("odd-aspect", "note", ("cat/strip.png",)),
        ("extreme-size", "note", ("dog/huge.png",)),
    }


def test_duplicates_and_conflicts(data):
    shutil.copy(data / "cat/0000.jpg", data / "cat/again.jpg")
    shutil.copy(data / "cat/0001.jpg", data / "dog/again.jpg")
    resaved(data / "cat/0002.jpg", data / "cat/near.jpg")
    resaved(data / "cat/0003.jpg", data / "dog/near.jpg")
    assert found(data) == {
        ("duplicate", "warning", ("cat/0000.jpg", "cat/again.jpg")),
        ("conflict", "error", ("cat/0001.jpg", "dog/again.jpg")),
        ("near-duplicate", "warning", ("cat/0002.jpg", "cat/near.jpg")),
        ("near-conflict", "warning", ("cat/0003.jpg", "dog/near.jpg")),
    }
    group = group_of(*look(data))
    for one, other in (("cat/0000.jpg", "cat/again.jpg"), ("cat/0003.jpg", "dog/near.jpg")):
        assert group[one] == group[other]
    assert len(set(group.values())) == 8


def test_leaks(split_data):
    shutil.copy(split_data / "train/cat/0000.jpg", split_data / "val/cat/copy.jpg")
    resaved(split_data / "train/dog/0000.jpg", split_data / "test/dog/near.jpg")
    assert found(split_data) == {
        ("leak", "error", ("train/cat/0000.jpg", "val/cat/copy.jpg")),
        ("near-leak", "warning", ("test/dog/near.jpg", "train/dog/0000.jpg")),
    }


def test_flat_and_differently_coloured_pictures_are_not_look_alikes(data):
    ramp = np.tile(np.arange(0, 192, 2, dtype=np.uint8), (80, 1))
    for number, colour in enumerate([(255, 0, 0), (250, 5, 5), (0, 255, 0)]):
        Image.new("RGB", (90, 90), colour).save(data / f"cat/flat{number}.png")
    for number in (0, 2):
        channels = [ramp if channel == number else ramp * 0 for channel in range(3)]
        Image.fromarray(np.stack(channels, axis=-1)).save(data / f"dog/ramp{number}.png")
    assert found(data) == set()


def test_given_groups_are_kept_whole_and_named(data, tmp_path):
    rows = [
        ("cat/0000.jpg", "cat", "zoo"),
        ("cat/0001.jpg", "cat", "zoo"),
        ("dog/0000.jpg", "dog", ""),
        ("dog/0001.jpg", "dog", "ark"),
    ]
    shutil.copy(data / "dog/0000.jpg", data / "copy.jpg")
    rows.append(("copy.jpg", "dog", "zoo"))
    (data / "t.csv").write_text("path,label,group\n" + "".join(f"{','.join(row)}\n" for row in rows))
    group = group_of(*look(data / "t.csv"))
    assert {group[path] for path in ("cat/0000.jpg", "cat/0001.jpg", "dog/0000.jpg", "copy.jpg")} == {"group:zoo"}
    assert group["dog/0001.jpg"] == "group:ark"


def test_groups_do_not_depend_on_names(data, tmp_path):
    before = look(data)[1]
    data.rename(tmp_path / "moved")
    for file in sorted((tmp_path / "moved/cat").iterdir()):
        file.rename(file.with_name(f"z{file.name}"))
    assert sorted(look(tmp_path / "moved")[1].groups) == sorted(before.groups)


# === What is left out ===


def test_unreadable_images_are_left_out_or_refused(data):
    for number in range(7):
        (data / f"cat/bad{number}.jpg").write_text("no image")
    samples, audited = look(data)
    excluded = exclude(samples, audited, CONFIG)
    assert len(samples.samples) == len(audited.facts) == len(audited.groups) == 8 + len(excluded)
    assert excluded == {f"cat/bad{number}.jpg": "not-an-image" for number in range(7)}
    with pytest.raises(DataError, match="7 files cannot be read") as caught:
        exclude(*look(data), replace(CONFIG, strict=True))
    assert caught.value.what.count("(not-an-image)") == 5
    assert "and 2 more" in caught.value.what
    assert "--strict" in caught.value.hint


def test_conflicts_are_refused_or_dropped_whole(data):
    shutil.copy(data / "cat/0001.jpg", data / "dog/again.jpg")
    with pytest.raises(DataError, match=r"cat/0001\.jpg = dog/again\.jpg") as caught:
        exclude(*look(data), CONFIG)
    assert "`--conflicts drop`" in caught.value.hint
    excluded = exclude(*look(data), replace(CONFIG, conflicts="drop"))
    assert excluded == {"cat/0001.jpg": "conflict", "dog/again.jpg": "conflict"}


def test_leaks_are_refused_or_dropped_from_what_is_trained_on(split_data):
    shutil.copy(split_data / "train/cat/0000.jpg", split_data / "val/cat/copy.jpg")
    shutil.copy(split_data / "train/cat/0001.jpg", split_data / "val/cat/other.jpg")
    shutil.copy(split_data / "train/cat/0001.jpg", split_data / "test/cat/other.jpg")
    with pytest.raises(DataError, match="Copies of 2 images lie in two given splits") as caught:
        exclude(*look(split_data), CONFIG)
    assert "`--leaks drop`" in caught.value.hint
    dropped = exclude(*look(split_data), replace(CONFIG, leaks="drop"))
    assert dropped == dict.fromkeys(("train/cat/0000.jpg", "train/cat/0001.jpg", "val/cat/other.jpg"), "leak")


def test_a_conflict_that_also_leaks_is_left_out_once(split_data):
    shutil.copy(split_data / "train/cat/0000.jpg", split_data / "val/dog/copy.jpg")
    excluded = exclude(*look(split_data), replace(CONFIG, conflicts="drop"))
    assert excluded == {"train/cat/0000.jpg": "conflict", "val/dog/copy.jpg": "conflict"}


def test_a_class_without_a_usable_image_is_named(data):
    for file in (data / "dog").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"No usable image is left of dog: .*empty"):
        exclude(*look(data), CONFIG)


def test_data_fingerprint_knows_content_not_order(data):
    samples, audited = look(data)
    base = data_fingerprint(samples.samples, audited.facts)
    assert data_fingerprint(samples.samples[::-1], audited.facts[::-1]) == base
    assert data_fingerprint(samples.samples[1:], audited.facts[1:]) != base
    assert data_fingerprint(samples.samples, audited.facts[::-1]) != base
    relabelled = (replace(samples.samples[0], split="test"), *samples.samples[1:])
    assert data_fingerprint(relabelled, audited.facts) != base


# === The cache of facts ===


def test_a_second_audit_decodes_nothing(data, monkeypatch):
    first = look(data)[1]

    def fail(*_, **__):
        raise AssertionError("decoded again")

    swap(monkeypatch, "kit.data.facts", "read_image", fail)
    assert look(data)[1] == first


def test_changed_bytes_are_read_again(data):
    first = look(data)[1]
    Image.new("RGB", (333, 222), "blue").save(data / "cat/0000.jpg")
    second = look(data)[1]
    assert (second.facts[0].width, second.facts[0].height) == (333, 222)
    assert second.facts[1:] == first.facts[1:]


@pytest.mark.parametrize("damage", [b"", b"no database", None])
def test_a_damaged_cache_is_ignored_and_rebuilt(data, tmp_path, damage, monkeypatch):
    first = look(data)[1]
    (store,) = (tmp_path / "cache/audit").glob("*.sqlite")
    content = bytearray(store.read_bytes())
    content[100 : len(content) // 2] = b"\xa5" * (len(content) // 2 - 100)
    store.write_bytes(bytes(content) if damage is None else damage)
    assert look(data)[1] == first
    monkeypatch.setattr("kit.data.facts.read_image", None)
    if damage is not None:
        assert look(data)[1] == first  # rebuilt: nothing is decoded


def test_a_cache_that_cannot_be_written_is_done_without(data, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert look(data)[1].findings == ()


def audit_in_process(folder: str) -> tuple:
    return look(folder)[1].facts


def test_processes_share_the_cache(data):
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        results = pool.map(audit_in_process, [str(data)] * 4)
    assert results == [look(data)[1].facts] * 4


def test_threads_change_nothing(data):
    samples = load_samples(str(data))
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda threads: audit(samples, CONFIG, threads), [1, 2, 8]))
    assert results[0] == results[1] == results[2]


@pytest.mark.real
def test_the_flowers(real_data):
    """Every pair named here was looked at: the same image, or one image treated twice; and nothing stops training."""
    samples, audited = look(real_data / "flowers")
    kinds = {finding.kind for finding in audited.findings}
    assert {"duplicate", "near-duplicate", "grey", "blurred"} <= kinds
    assert not kinds & {"conflict", "near-conflict", "leak", "near-leak", "truncated", "unreadable"}
    copies = [finding for finding in audited.findings if finding.kind.endswith("duplicate")]
    pairs = {tuple(Path(path).name.partition("_")[0] for path in finding.paths) for finding in copies}
    assert {("14889392928", "15066430311"), ("15069459615", "15072973261"), ("10466290366", "10994032453")} <= pairs
    assert len(pairs) < 20
    assert exclude(samples, audited, CONFIG) == {}
