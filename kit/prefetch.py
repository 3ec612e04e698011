"""The next item made while this one is used."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

Item = TypeVar("Item")


def prefetch(items: Generator[Item, None, None]) -> Iterator[Item]:
    """Runs a generator in a thread, one item ahead of whoever consumes it.

    Args:
        items: Closed when the consumer stops early; what it raises is raised to the consumer.
    """
    end: Any = object()
    with closing(items), ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:  # closed after the thread's end
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item
