"""How a person is photographed."""

import numpy as np

from pipelines.sample.person import draw_person
from pipelines.sample.shot import take_shot


def test_the_long_side_stays_within_the_asked_range() -> None:
    person = draw_person(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    cameras = [take_shot(rng, person, size_px=(112, 160)).camera for _ in range(200)]
    sides = [max(camera.width_px, camera.height_px) for camera in cameras]
    assert 112 <= min(sides) < 118
    assert 154 < max(sides) <= 160
    assert all(112 <= camera.width_px <= camera.height_px for camera in cameras)


def test_glasses_follow_the_habit() -> None:
    rng = np.random.default_rng(2)
    people = [draw_person(np.random.default_rng(seed)) for seed in range(20)]
    for person in people:
        share = np.mean([take_shot(rng, person, size_px=(112, 160)).wear.glasses for _ in range(100)])
        assert abs(share - person.marks.glasses_habit) < 0.1
