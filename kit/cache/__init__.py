"""Content-keyed arrays on disk: pixels and activations, computed once.

A store is a folder of chunk files, named by the fingerprint of its recipe: everything that decides an array apart from
the array's key. The same settings find the same arrays, other settings never do.

    chunks.py     one chunk file: layout, checksum, memory map; the appender that writes chunks
    array.py      CachedArray: rows of stores in any order, read through memory maps
    stores.py     Store: which keys are there, and which are missing
    writer.py     writing: adds missing arrays, one process at a time
    inventory.py  lists, prunes and verifies the stores
"""

from kit.cache.array import CachedArray
from kit.cache.stores import Store
from kit.cache.writer import Writer, writing

__all__ = ["CachedArray", "Store", "Writer", "writing"]
