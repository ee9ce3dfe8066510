"""The local engine without its worker processes, each of which would load everything anew.

For tests of what comes before and after training; those of the engine hold that the numbers are the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from lerac.study.engines import here


@contextmanager
def in_this_process() -> Iterator[None]:
    with patch("lerac.study.engines.local.train_all", here.train_all):
        yield
