"""Generators that run one item ahead of their consumer."""

import threading

import pytest

from kit.data.batches import prefetch


def test_items_come_in_order_and_one_ahead():
    made: list[int] = []
    next_is_made = threading.Event()

    def count():
        for number in range(5):
            made.append(number)
            if number == 1:
                next_is_made.set()
            yield number

    items = prefetch(count())
    assert next(items) == 0
    assert next_is_made.wait(10), "nothing was made while the first item was in use"
    assert len(made) == 2
    assert list(items) == [1, 2, 3, 4]


def test_what_the_generator_raises_reaches_the_consumer():
    def fail():
        yield 1
        raise OSError("the disk is full")

    items = prefetch(fail())
    assert next(items) == 1
    with pytest.raises(OSError, match="the disk is full"):
        next(items)


def test_a_consumer_that_stops_closes_the_generator():
    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    items = prefetch(endless())
    next(items)
    items.close()
    assert closed == [True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
