"""Makes the toy backbone known to every Python that a test starts: PYTHONPATH names this folder (conftest.py)."""

import toy

toy.use()
