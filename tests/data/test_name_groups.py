"""Groups by a part of the path: what --group-by makes of it, and what inspect proposes."""

import numpy as np
import pytest

from image_files import draw_image, make_images
from kit.config import DataConfig, RunConfig
from kit.data.audit import audit
from kit.data.dataset import build_dataset
from kit.data.sources import load_samples
from kit.errors import ConfigError, DataError

PER_TRACK = r"(.+)_\d+\.\w+$"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tracks(tmp_path):
    """Two classes of eight tracks of five frames, of which the track's number recurs from class to class."""
    for label, name in enumerate(("go", "stop")):
        (tmp_path / "signs" / name).mkdir(parents=True)
        for track in range(8):
            first = draw_image(label, 2, 96, 80, np.random.default_rng([label, track]))
            for frame in range(5):
                seen = first.crop((frame, 0, 88 + frame, 76)).resize((64, 64))
                seen.save(tmp_path / f"signs/{name}/{track:05d}_{frame:05d}.jpg")
    return tmp_path / "signs"


def groups(folder, **settings) -> dict[str, str]:
    samples = load_samples(str(folder))
    found = audit(samples, DataConfig(near_duplicates="off", **settings), threads=2)
    return dict(zip((sample.path for sample in samples.samples), found.groups, strict=True))


def test_frames_of_a_track_share_a_split(tracks):
    dataset = build_dataset(load_samples(str(tracks)), RunConfig(data=DataConfig(group_by=PER_TRACK)))
    split_of: dict[str, set] = {}
    for path, split in zip(dataset.paths, dataset.splits.tolist(), strict=True):
        split_of.setdefault(path.rpartition("_")[0], set()).add(split)
    assert len(split_of) == 16
    assert all(len(splits) == 1 for splits in split_of.values())
    assert set().union(*split_of.values()) == {"train", "validation", "test"}


def test_the_first_parenthesis_or_the_whole_match_is_the_group(tracks):
    assert len(set(groups(tracks, group_by=PER_TRACK).values())) == 16
    assert set(groups(tracks, group_by=r"(\d+)_").values()) == {f"group:{track:05d}" for track in range(8)}
    assert set(groups(tracks, group_by="^go|^stop").values()) == {"group:go", "group:stop"}


def test_groups_of_a_table_hold_as_well(tracks):
    rows = [
        "go/00000_00000.jpg,go,x",
        "go/00000_00001.jpg,go,",
        "go/00001_00000.jpg,go,x",
        "stop/00000_00000.jpg,stop,",
    ]
    (tracks / "t.csv").write_text("\n".join(["path,label,group", *rows]) + "\n")
    found = list(groups(tracks / "t.csv", group_by=PER_TRACK).values())
    assert found == ["group:go/00000"] * 3 + ["group:stop/00000"]


def test_images_that_do_not_match_are_counted(tracks):
    (tracks / "go/00003_00002.jpg").rename(tracks / "go/extra.jpg")
    found = audit(load_samples(str(tracks)), DataConfig(group_by=PER_TRACK, near_duplicates="off"), threads=2)
    assert len(set(found.groups)) == 17
    assert [warning for warning in found.warnings if "go/extra.jpg" in warning and "1 image is a group" in warning]


def test_a_pattern_that_matches_nothing_or_is_none_is_one_message(tracks):
    with pytest.raises(DataError, match="matches none of the 80 paths; the first is go/00000_00000"):
        groups(tracks, group_by="video_([0-9]+)")
    with pytest.raises(ConfigError, match=r"data\.group_by is not a regular expression"):
        DataConfig(group_by="(")


def proposal(folder, **settings) -> list[str]:
    found = audit(load_samples(str(folder)), DataConfig(near_duplicates="off", **settings), threads=2)
    return [warning for warning in found.warnings if "--group-by" in warning]


def test_groups_are_proposed_where_names_and_looks_agree(tracks):
    (said,) = proposal(tracks)
    assert said.startswith("100% of the images")
    assert f"--group-by '{PER_TRACK}' keeps the 16 groups whole" in said
    assert proposal(tracks, group_by=PER_TRACK) == []


def test_names_alone_propose_nothing(tmp_path):
    folder = make_images(tmp_path / "data", ("cat", "dog"), 24)
    for name in ("cat", "dog"):
        for number in range(24):
            (folder / f"{name}/{number:04d}.jpg").rename(folder / f"{name}/{number // 4}_{number % 4}.jpg")
    assert proposal(folder) == []


@pytest.mark.real
def test_road_signs_are_proposed_by_track_and_others_are_not(real_data):
    (said,) = proposal(real_data / "data/road_signs")
    assert f"'{PER_TRACK}' keeps the 120 groups whole" in said
    for other in ("groceries", "magnetic_tiles", "aerial", "blood_cells"):
        assert proposal(real_data / "data" / other) == []
