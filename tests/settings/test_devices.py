"""What a script computes on."""

import pytest
import torch

from linear_shortcuts.files import InputError
from linear_shortcuts.settings.devices import choose_device, one_thread


def test_a_device_that_is_not_there_is_refused_by_name():
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("cuda:99", "tpu", "meta", ""):
        with pytest.raises(InputError, match=f"--device {name} is not available here; use auto or cpu"):
            choose_device(name)


def test_one_thread_is_one_inside_and_what_it_was_after_an_error_too():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError), one_thread():
            1 / (torch.get_num_threads() - 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
