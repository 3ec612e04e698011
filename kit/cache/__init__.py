"""Rows computed once and kept: the one mechanism behind pixels and trunk activations.

A store is a folder of chunk files in the cache. Its recipe says all that decides a row apart from the row's key, and
the folder is named by the recipe's fingerprint; so whoever needs the same rows finds them, and nobody reads another's.

    chunks.py     one chunk file: its layout, its checksum, its mapping; the appender that writes chunks
    rows.py       Rows: some rows in some order, read through memory maps
    stores.py     Store, ensure, ensure_all: what is missing is computed once, under a lock between processes
    inventory.py  what stores there are, how large, how old; pruning and verifying them
"""

from kit.cache.rows import Rows
from kit.cache.stores import Block, Blocks, Store, ensure_all

__all__ = ["Block", "Blocks", "Rows", "Store", "ensure_all"]
