import torch

from training.launch.late_value import LateValue


def test_a_number_on_a_cpu_is_there_at_once_and_does_not_keep_the_graph():
    value = torch.tensor(3.0, requires_grad=True) * 2
    late = LateValue(value)
    assert late.read() == 6.0
    assert not late._host.requires_grad
    assert LateValue(torch.tensor([True])).read() == 1.0
