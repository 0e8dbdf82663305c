"""Shapes in head units on a picture."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipelines.arrays import Points
from pipelines.sample.canvas import SHADE_SIDE_PX, SIDE_PX, Canvas
from pipelines.sample.shot import Pose

_FRONTAL = Pose(yaw=0.0, pitch=0.0, roll=0.0, head_size=0.3, centre_x=0.5, centre_y=0.5)


def _centre_of_disc(pose: Pose, place: Points) -> Points:
    canvas = Canvas(np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8), pose)
    canvas.discs(place[None], 0.1, (255.0, 255.0, 255.0))
    rows, columns = np.nonzero(canvas.picture[:, :, 0] > 127)
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0.4, 0.0, 0.0), (0.0, -0.2, 0.0), (0.0, 0.0, 0.3), (-0.3, 0.2, -0.25)]
)
def test_a_turned_head_moves_a_point_as_a_rotation_does(yaw: float, pitch: float, roll: float) -> None:
    place = np.array([0.2, -0.3, 0.6])
    # Our y points down, so that turns about x and z run the other way round than scipy's.
    turn = Rotation.from_euler("yxz", [yaw, -pitch, roll])
    expected = SIDE_PX * (0.5 + 0.3 * turn.apply(place)[:2])
    pose = replace(_FRONTAL, yaw=yaw, pitch=pitch, roll=roll)
    assert np.abs(_centre_of_disc(pose, place) - expected).max() < 1.0


def test_a_shadow_falls_where_the_shape_is_drawn() -> None:
    canvas = Canvas(np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8), _FRONTAL)
    square = np.array([[0.2, 0.2, 0], [0.9, 0.2, 0], [0.9, 0.9, 0], [0.2, 0.9, 0]])
    canvas.fill(square, (255.0, 255.0, 255.0))
    canvas.shadow(square, 0)
    step = SIDE_PX // SHADE_SIDE_PX
    drawn = canvas.picture[step // 2 :: step, step // 2 :: step, 0] > 127
    assert np.mean(drawn == (canvas.shade < 127)) > 0.98
