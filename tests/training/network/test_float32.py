import pytest
import torch

from training.network.float32 import full_float32


def settings():
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("before", [(True, False), (True, True), (False, False)])
def test_tf32_is_off_within_it_and_as_before_afterwards(before, monkeypatch):
    kept = settings()
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    try:
        with full_float32():
            assert settings() == (False, False)
        assert settings() == before
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept
