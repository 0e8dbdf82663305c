"""Who is drawn."""

from dataclasses import asdict

import numpy as np

from pipelines.sample.person import BEARDS, FRAMES, HAIR_STYLES, draw_person


def test_one_seed_gives_one_person() -> None:
    first, again, other = (draw_person(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert asdict(first) == asdict(again)
    assert asdict(first) != asdict(other)


def test_many_people_show_every_style() -> None:
    people = [draw_person(np.random.default_rng(seed)) for seed in range(300)]
    assert {person.hair.style for person in people} == set(HAIR_STYLES)
    assert {person.hair.beard for person in people} == set(BEARDS)
    assert {person.marks.frame for person in people} == set(FRAMES)


def test_colours_are_grey_levels() -> None:
    for seed in range(100):
        person = draw_person(np.random.default_rng(seed))
        colours = (
            person.skin,
            person.eyes.iris,
            person.nose_mouth.lip_colour,
            person.hair.colour,
            person.marks.frame_colour,
        )
        assert all(0 <= channel <= 255 for colour in colours for channel in colour)
