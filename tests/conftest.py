"""Settings of every test."""

import pytest
import torch

collect_ignore = ["near.py"]  # a script


@pytest.fixture(autouse=True)
def one_thread():
    """Compute on one thread: the tests' tensors are too small for two."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)
