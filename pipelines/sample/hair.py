"""Hair of the head, by style: the part behind the face and the part on it."""

import functools

import numpy as np

from pipelines.arrays import Points
from pipelines.sample.canvas import Canvas, dim, mix
from pipelines.sample.person import Colour, Hair, Person, Skull

_ARC = np.linspace(-1.0, 1.0, 21)

# Style -> thickness of the cap above and beside the skull, height added to the hairline, height at which the sides end.
_CAPS = {
    "buzz": (0.03, 0.02, 0.0, 0.05),
    "short": (0.1, 0.05, 0.02, 0.1),
    "quiff": (0.3, 0.02, 0.04, 0.0),
    "spikes": (0.12, 0.04, 0.04, 0.0),
    "fringe": (0.12, 0.12, -0.34, 0.45),
    "long": (0.1, 0.1, 0.0, 0.5),
    "afro": (0.2, 0.16, 0.02, 0.1),
    "curly": (0.14, 0.12, -0.08, 0.3),
    "bun": (0.05, 0.03, 0.05, 0.05),
    "tails": (0.07, 0.05, -0.12, 0.2),
}


def draw_behind(canvas: Canvas, person: Person) -> None:
    """Draw the hair behind the face and the neck."""
    hair, skull = person.hair, person.skull
    colour = dim(hair.colour, 0.82)
    if hair.style in ("long", "fringe"):
        canvas.fill(_mane(skull, hair), colour)
    elif hair.style == "afro":
        radius = skull.crown * (1.02 + hair.volume)
        canvas.discs(np.array([[0.0, -0.28, -0.3]]), radius, colour)
        canvas.discs(_around(radius, 16), 0.2, colour)
    elif hair.style == "bun":
        canvas.discs(np.array([[hair.parting * 0.3, -skull.crown - 0.12, -0.3]]), 0.24 + hair.volume * 0.7, hair.colour)
    elif hair.style == "tails":
        for side in (-1, 1):
            canvas.discs(_tail(skull, hair, side), 0.16 + hair.volume * 0.4, colour)


def draw_cap(canvas: Canvas, person: Person) -> None:
    """Draw the hair on the forehead and the temples."""
    hair, skull = person.hair, person.skull
    if hair.style == "bald":
        return
    if hair.style == "horseshoe":
        _draw_horseshoe(canvas, skull, hair)
        return
    colour = mix(hair.colour, person.skin, 0.45) if hair.style == "buzz" else hair.colour
    outer, inner = _cap(skull, hair)
    canvas.fill(np.concatenate([outer, inner[::-1]]), colour)
    if hair.style in ("curly", "afro"):
        canvas.discs(outer, 0.11 + hair.volume * 0.25, colour)
    for strand, strand_colour in _strands(skull, hair):
        canvas.stroke(strand, strand_colour, 0.03)


@functools.lru_cache
def _cap(skull: Skull, hair: Hair) -> tuple[Points, Points]:
    """Outer and inner edge, (21, 3) each."""
    above, beside, raised, end = _CAPS[hair.style]
    outer = _outer(skull, above + hair.volume * (0.1 if hair.style == "buzz" else 0.6), beside, end)
    if hair.style == "spikes":
        outer[1:-1:2] *= (1.12, 1.12, 1.0)
    if hair.style == "quiff":
        outer[:, 1] -= 0.3 * np.exp(-(((_ARC - hair.parting * 0.5) / 0.35) ** 2)) * (0.5 + hair.volume)
    return outer, _hairline(skull, hair, raised, end)


def _outer(skull: Skull, above: float, beside: float, end: float) -> Points:
    """The outer edge (21, 3), from the left temple over the crown to the right one."""
    angle = _ARC * np.pi / 2
    x = (skull.half_width + beside) * np.sin(angle)
    y = -(skull.crown + above) * np.cos(angle) + end * np.abs(_ARC) ** 6
    return np.stack([x, y, np.full(21, -0.05)], axis=-1)


def _hairline(skull: Skull, hair: Hair, raised: float, end: float) -> Points:
    """The hairline (21, 3), from temple to temple; its highest point follows the parting."""
    place = _ARC - hair.parting * 0.6 * (1.0 - _ARC**2)
    height = -(hair.hairline + raised) * (1.0 - np.abs(place) ** (2.0 + 6.0 * hair.length))
    if hair.style == "fringe":
        height = np.full(21, -(0.36 + 0.25 * (hair.hairline - 0.5))) + 0.03 * np.cos(_ARC * 25)
    height = height + hair.peak * np.exp(-((_ARC / 0.2) ** 2)) + end * np.abs(_ARC) ** 8
    return np.stack([0.93 * skull.half_width * _ARC, height, 0.5 - 0.5 * _ARC**2], axis=-1)


@functools.lru_cache
def _mane(skull: Skull, hair: Hair) -> Points:
    """The outline (15, 3) of long hair behind the head, down to the jaw or below the shoulders."""
    bottom = 0.6 + hair.length * (0.35 if hair.style == "fringe" else 1.1)
    width = skull.half_width + 0.12 + hair.volume * 0.8
    angle = np.linspace(-np.pi / 2, np.pi / 2, 11)
    top = np.stack([width * np.sin(angle), -(skull.crown + 0.1) * np.cos(angle), np.full(11, -0.2)], axis=-1)
    sides = np.array([[width * 1.08, bottom, -0.2], [width * 0.5, bottom + 0.1, -0.2]])
    return np.concatenate([top, sides, sides[::-1] * (-1.0, 1.0, 1.0)])


def _around(radius: float, count: int) -> Points:
    angle = np.linspace(np.pi * 0.85, np.pi * 2.15, count)
    return np.stack([radius * np.cos(angle), -0.28 + radius * np.sin(angle), np.full(count, -0.3)], axis=-1)


def _tail(skull: Skull, hair: Hair, side: int) -> Points:
    down = np.linspace(0.0, 1.0, 4)
    x = side * (skull.half_width + 0.22 - 0.08 * down)
    return np.stack([x, -0.3 + down * (0.5 + hair.length), np.full(4, -0.25)], axis=-1)


def _draw_horseshoe(canvas: Canvas, skull: Skull, hair: Hair) -> None:
    for side in (-1.0, 1.0):
        x = side * skull.half_width
        shape = [
            [0.97, -0.62, 0.0],
            [1.1 + hair.volume, -0.3, -0.1],
            [1.08, 0.2, 0.0],
            [0.95, 0.22, 0.1],
            [0.86, -0.35, 0.3],
        ]
        canvas.fill(np.array([[x * across, y, z] for across, y, z in shape]), hair.colour)


@functools.lru_cache
def _strands(skull: Skull, hair: Hair) -> list[tuple[Points, Colour]]:
    """Lighter and darker lines from the hairline to the crown."""
    outer, inner = _cap(skull, hair)
    rng = np.random.default_rng(hair.waves)
    strands = []
    for index in rng.choice(np.arange(2, 19), 8, replace=False).tolist():
        factor, reach = rng.uniform(0.6, 1.7), rng.uniform(0.5, 0.9)
        start = inner[index] * 1.02
        colour = mix(hair.colour, (255, 240, 220), 0.2) if factor > 1.1 else dim(hair.colour, factor)
        strands.append((np.stack([start, start + (outer[index] - start) * reach]), colour))
    return strands
