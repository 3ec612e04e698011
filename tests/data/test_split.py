"""Splits are stable, keep groups whole, and respect what is given."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.config import SplitConfig
from kit.data.split import assign_splits
from kit.errors import DataError

NAMES = ("train", "validation", "test")


def assign(labels, groups=None, given=None, config=None):
    count = len(labels)
    groups = groups or [f"image {index}" for index in range(count)]
    return assign_splits(labels, groups, given or [None] * count, config or SplitConfig())


def test_proportions_are_about_right_in_every_class():
    labels = ["a"] * 4000 + ["b"] * 1000
    splits, warnings = assign(labels)
    assert warnings == []
    for label, count in Counter(labels).items():
        got = Counter(split for split, of in zip(splits, labels, strict=True) if of == label)
        # five standard deviations of a binomial
        assert abs(got["train"] / count - 0.70) < 5 * (0.7 * 0.3 / count) ** 0.5
        assert abs(got["validation"] / count - 0.15) < 5 * (0.15 * 0.85 / count) ** 0.5


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(0, 60))
def test_an_image_keeps_its_split_when_others_are_added(seed, before, added):
    config = SplitConfig(seed=seed, train=0.98, validation=0.01, test=0.01)
    groups = [f"g{index}" for index in range(before + added)]
    labels = [f"c{index % 3}" for index in range(before + added)]
    few, _ = assign_or_train(labels[:before], groups[:before], config)
    many, _ = assign_or_train(labels, groups, config)
    assert many[:before] == few


def assign_or_train(labels, groups, config):
    """One image more that is trained on for certain: without any, there is nothing to assign."""
    splits, warnings = assign_splits([*labels, "c"], [*groups, "anchor"], [*([None] * len(labels)), "train"], config)
    return splits[:-1], warnings


def test_the_seed_chooses_the_split():
    labels = ["a"] * 200
    assert assign(labels)[0] == assign(labels)[0]
    assert assign(labels)[0] != assign(labels, config=SplitConfig(seed=1))[0]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8), st.sampled_from([None, *NAMES])), min_size=1))
def test_groups_stay_together_and_given_splits_are_kept(rows):
    labels, groups, given = ([*column] for column in zip(*rows, strict=True))
    groups = [f"g{group}" for group in groups]
    labels, groups, given = [*labels, "a"], [*groups, "anchor"], [*given, None]
    given[-1] = "train"
    splits, _ = assign_splits(labels, groups, given, SplitConfig())
    if None in given:
        assert all(was in (None, is_now) for was, is_now in zip(given, splits, strict=True))
    for group in set(groups):
        members = [(was, is_now) for was, is_now, of in zip(given, splits, groups, strict=True) if of == group]
        fixed = [was for was, _ in members if was]
        free = {is_now for was, is_now in members if was is None}
        assert len(free) <= 1  # whole
        if fixed and free:
            assert free == {max(fixed, key=NAMES.index)}


def test_a_group_across_classes_stays_whole():
    for seed in range(20):
        splits, _ = assign(["a", "b"] * 10, ["shared"] * 2 + [str(n) for n in range(18)], config=SplitConfig(seed=seed))
        assert splits[0] == splits[1]


def test_given_splits_are_taken_as_they_are():
    given = ["train", "validation", "test"] * 4
    splits, warnings = assign(["a"] * 12, ["same"] * 12, given)
    assert splits == given
    assert warnings == []


@pytest.mark.parametrize(("there", "missing"), [("validation", "test"), ("test", "validation")])
def test_a_missing_split_is_taken_from_train_and_said(there, missing):
    given = ["train"] * 800 + [there] * 100
    splits, warnings = assign(["a"] * 900, given=given)
    got = Counter(splits)
    assert splits[800:] == [there] * 100
    assert abs(got[missing] / 800 - 0.15 / 0.85) < 0.07
    assert any(missing in warning and "18%" in warning for warning in warnings)


def test_no_missing_split_is_made_where_none_is_wanted():
    given = ["train"] * 8 + ["validation"] * 2
    config = SplitConfig(train=0.8, validation=0.2, test=0.0)
    assert assign(["a"] * 10, given=given, config=config) == (given, [])


def test_shares_of_zero_stay_empty():
    splits, warnings = assign(["a"] * 500, config=SplitConfig(train=1.0, validation=0.0, test=0.0))
    assert set(splits) == {"train"}
    assert warnings == []


def test_a_class_that_lacks_a_split_is_named():
    splits, warnings = assign(["a", "a", "a", "rare"], given=["train", "validation", "test", "train"])
    assert splits[3] == "train"
    assert warnings == ["The validation split has no image of rare.", "The test split has no image of rare."]


def test_only_a_train_split_is_shared_out_whole():
    splits, warnings = assign(["a"] * 400, given=["train"] * 400)
    assert splits == assign(["a"] * 400)[0]
    assert "no validation and no test" in warnings[0]


def test_nothing_to_train_on():
    with pytest.raises(DataError, match="train split"):
        assign(["a", "b"], given=["validation", "test"])
    with pytest.raises(ValueError, match="entries"):
        assign_splits(["a"], [], [None], SplitConfig())


def test_names_that_are_not_utf_8():
    groups = [f"group:\udcff{number}" for number in range(50)]
    assert set(assign(["a"] * 50, groups)[0]) == set(NAMES)
