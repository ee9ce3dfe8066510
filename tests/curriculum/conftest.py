"""Every test of the curriculum leaves torch as it was."""

import pytest
import torch


@pytest.fixture(autouse=True)
def no_mode_is_left():
    yield
    assert not torch._C._len_torch_function_stack()
