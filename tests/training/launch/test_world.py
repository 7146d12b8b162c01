import pytest

from training.launch.world import World

# A world of several processes is read for real in test_sampler_ddp.py.


def test_a_process_alone_is_rank_0_of_1():
    assert World.current() == World(rank=0, size=1)


@pytest.mark.parametrize(("rank", "size"), [(-1, 2), (2, 2), (0, 0)])
def test_a_rank_outside_its_world_is_refused(rank, size):
    with pytest.raises(ValueError, match=rf"rank must be in \[0, size\), was rank {rank} of size {size}"):
        World(rank, size)
