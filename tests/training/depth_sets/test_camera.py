import numpy as np
import pytest

from training.depth_sets.camera import DIODE_FOCAL_PX, training_camera


def view(number: int, shape: tuple[int, int]):
    return f"{number:05d}", np.full(shape, 4.0), np.ones(shape)


def test_the_camera_of_a_set_has_its_size_and_the_focal_length_given(make_set) -> None:
    samples = make_set([view(7, (40, 48)), view(8, (40, 48))])
    assert training_camera(samples, 35.5) == {"camera_focal_px": 35.5, "camera_height": 40, "camera_width": 48}
    assert training_camera(samples, None)["camera_focal_px"] == 0


def test_images_of_several_sizes_have_none(make_set) -> None:
    samples = make_set([view(7, (40, 48)), view(8, (48, 40))])
    assert training_camera(samples, None) == {"camera_focal_px": 0, "camera_height": 0, "camera_width": 0}


def test_images_of_diode_have_the_focal_length_of_its_camera_unless_another_is_given(make_set, capsys) -> None:
    samples = make_set([view(7, (768, 1024))])
    assert training_camera(samples, None) == {"camera_focal_px": 1323, "camera_height": 768, "camera_width": 1024}
    assert "training camera: DIODE's, focal length 1323 px" in capsys.readouterr().err
    assert training_camera(samples, 887.0)["camera_focal_px"] == 887
    assert capsys.readouterr().err == ""


def test_the_focal_length_of_diode_gives_both_fitted_angles() -> None:
    angles = [2 * np.degrees(np.arctan(side / 2 / DIODE_FOCAL_PX)) for side in (1024, 768)]
    assert angles == pytest.approx([42.3, 32.4], abs=0.05)
