"""From the options to the augmentation: defaults, numbers, and values that are refused."""

from dataclasses import replace

import pytest

from sharding.errors import UsageError
from training.config import FinetuneConfig
from training.depth_sets.views import make_augment, parse_jitter, parse_zoom
from training.finetuning.check import check_finetune
from training.loading.augment import PairedAugment

CONFIG = FinetuneConfig(set="a", val="b", out="c", height=48, width=64)


def test_without_options_views_are_those_of_the_class():
    assert make_augment(CONFIG) == PairedAugment(height=48, width=64)


def test_every_number_reaches_the_views():
    chosen = replace(CONFIG, rotation=5.0, zoom="0.8, 2", flip=0.25, jitter="0.1,0,0.3", scale=0.5)
    assert make_augment(chosen) == PairedAugment(
        height=48,
        width=64,
        max_rotation_deg=5,
        zoom=(0.8, 2),
        flip_prob=0.25,
        scale=0.5,
        brightness=0.1,
        contrast=0,
        saturation=0.3,
    )


def test_the_tutorials_views_have_its_crop_and_no_colour():
    still = {"zoom": (1.0, 1.0), "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    expected = PairedAugment(height=48, width=64, crop_area=(0.2, 0.9), **still)
    tutorial = replace(CONFIG, augment="tutorial")
    assert make_augment(tutorial) == expected
    assert (expected.max_rotation_deg, expected.flip_prob) == (15, 0.5)
    chosen = make_augment(replace(tutorial, rotation=0.0, flip=0.0, jitter="0.2"))
    assert chosen == replace(expected, max_rotation_deg=0, flip_prob=0, brightness=0.2, contrast=0.2, saturation=0.2)


@pytest.mark.parametrize("text", ["2,1", "1", "0,1", "-1,1", "1,2,3", "1,x", "nan,1", "1,inf", ",", "", "1,1e300"])
def test_a_zoom_is_two_numbers_in_order(text):
    with pytest.raises(
        UsageError, match=r"^--zoom .*: expected the least and the largest zoom, from 0.01 to 100, such"
    ):
        parse_zoom(text)


@pytest.mark.parametrize("text", ["0.1,0.2", "1,0,0", "-0.1,0,0", "x", "0.1;0.2;0.3", "nan,0,0", ""])
def test_a_jitter_is_three_numbers_below_1(text):
    with pytest.raises(UsageError, match=r"^--jitter .*: expected the changes of brightness, contrast and saturation"):
        parse_jitter(text)


def test_a_zoom_of_the_tutorial_is_refused_before_anything_is_read(diode_sets, tmp_path):
    config = FinetuneConfig(
        set=diode_sets[0].url, val=diode_sets[1].url, out=str(tmp_path / "run"), augment="tutorial", zoom="1,2"
    )
    with pytest.raises(
        UsageError, match="--zoom 1,2: the crop of --augment tutorial has a zoom of its own, which the depth"
    ):
        check_finetune(config)
    assert not (tmp_path / "run").exists()
