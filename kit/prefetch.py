"""Prefetch in a background thread."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

Item = TypeVar("Item")


def prefetch(items: Generator[Item, None, None]) -> Iterator[Item]:
    """Prefetch one item in a thread; its errors reach the consumer, and stopping early closes `items`."""
    end: Any = object()
    with closing(items), ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:  # closed after the thread's end
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item
