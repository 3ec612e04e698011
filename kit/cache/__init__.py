"""Content-keyed arrays on disk: pixels and activations, computed once and found again.

A store is a folder of chunk files. Its recipe says everything that decides an array apart from the array's key, and the
recipe's fingerprint names the folder: the same settings find the same arrays, other settings never do.

    chunks.py     one chunk file: layout, checksum, memory map; the appender that writes chunks
    array.py      CachedArray: some rows of the stores in some order, read through memory maps
    stores.py     Store: which keys are there, and which are missing
    writer.py     writing: adds what is missing, one process at a time
    inventory.py  lists, prunes and verifies the stores
"""

from kit.cache.array import CachedArray
from kit.cache.stores import Store
from kit.cache.writer import Writer, writing

__all__ = ["CachedArray", "Store", "Writer", "writing"]
