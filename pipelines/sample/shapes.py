"""Outlines of the parts of a face, (N, 3) in head units."""

import functools

import numpy as np

from pipelines.arrays import Points
from pipelines.sample.person import Eyes, NoseMouth, Skull

FACE_DEPTH = 0.62  # distance of the middle of the face in front of the skull's outline

_HALF_TURN = np.linspace(0.0, np.pi, 13)
_UNIT = np.linspace(-1.0, 1.0, 9)


def with_depth(x: Points, y: Points, depth: float) -> Points:
    """Put points (x, y) on the front of the head: `depth` at the middle, less towards the sides."""
    points = np.empty((*x.shape, 3))
    points[..., 0], points[..., 1], points[..., 2] = x, y, depth - 0.55 * x * x
    return points


@functools.lru_cache
def face(skull: Skull) -> Points:
    """The outline of the face with its chin: an ellipse above, a superellipse below the eyes."""
    down = np.linspace(0.0, 1.0, 14)
    half_width = skull.half_width * (1.0 - down**skull.jaw) ** (1.0 / (3.4 - skull.taper))
    right_side = np.stack([half_width, down * skull.chin, 0.35 * down], axis=-1)
    left_side = right_side[::-1] * (-1.0, 1.0, 1.0)
    top = np.stack([-skull.half_width * np.cos(_HALF_TURN), -skull.crown * np.sin(_HALF_TURN), np.zeros(13)], axis=-1)
    return np.concatenate([right_side, left_side, top[1:-1]])


@functools.lru_cache
def lower_face(skull: Skull, *, top: float, inset: float, narrow: float = 1.0) -> Points:
    """The part of the face with the beard: its outline below `top`, closed by a line that is lower in the middle."""
    outline = face(skull)[:28]
    outline = outline[(outline[:, 1] > top) & (np.abs(outline[:, 0]) <= skull.half_width * narrow)]
    x = _UNIT * np.abs(outline[-1, 0]) * (1.0 - inset)
    upper = with_depth(x, top + 0.16 * (1.0 - _UNIT**4), 0.5)
    return np.concatenate([outline * (1.0, 1.03, 1.0), upper])


@functools.lru_cache
def ear(skull: Skull, side: int) -> Points:
    angle = np.linspace(0.0, 2 * np.pi, 12, endpoint=False)
    x = side * (skull.half_width + skull.ear_out * 0.6) + (0.5 + skull.ear_out * 3) * skull.ear_size * np.cos(angle)
    return np.stack([x, 0.08 + skull.ear_size * np.sin(angle), np.full(12, -0.12)], axis=-1)


@functools.lru_cache
def neck(skull: Skull) -> Points:
    half = skull.neck
    plane = [[-half, 0.4], [half, 0.4], [half, 1.35], [0.0, 1.6], [-half, 1.35]]
    return np.array([[x, y, -0.25] for x, y in plane])


@functools.lru_cache
def shoulders(half_width: float, top: float) -> Points:
    x = _UNIT * half_width
    edge = np.stack([x, top + 0.55 * np.abs(_UNIT) ** 2.6, np.full(9, -0.3)], axis=-1)
    return np.concatenate([edge, [[half_width, 4.0, -0.3], [-half_width, 4.0, -0.3]]])


@functools.lru_cache
def eye_centre(eyes: Eyes, side: int) -> Points:
    """The centre of an eye, (1, 3)."""
    return with_depth(np.array([side * eyes.spread]), np.array([eyes.height]), FACE_DEPTH)


def eye(eyes: Eyes, side: int, openness: float) -> Points:
    """The opening between the lids, (18, 3), the upper lid first."""
    upper = -1.15 * openness * (1.0 - _UNIT**2)
    lower = 0.8 * openness * (1.0 - _UNIT[::-1] ** 2)
    along = np.concatenate([_UNIT, _UNIT[::-1]]) * eyes.half_width
    across = np.concatenate([upper, lower]) - eyes.tilt * along
    return with_depth(side * (eyes.spread + along), eyes.height + across, FACE_DEPTH)


def brow(eyes: Eyes, side: int, lift: float) -> Points:
    x = _UNIT * eyes.brow_length
    middle = eyes.height - eyes.brow_gap - lift - eyes.brow_slant * x - eyes.brow_arch * (1.0 - _UNIT**2)
    thickness = eyes.brow_thickness * (1.0 - 0.7 * np.maximum(_UNIT, 0.0) ** 2)
    plane_x = np.concatenate([x, x[::-1]])
    plane_y = np.concatenate([middle - thickness / 2, (middle + thickness / 2)[::-1]])
    return with_depth(side * (eyes.spread + plane_x), plane_y, FACE_DEPTH + 0.08)


@functools.lru_cache
def nose_side(parts: NoseMouth, eyes: Eyes, side: int) -> Points:
    """The line from the bridge round a nostril to the middle."""
    width, tip = parts.nose_half_width, eyes.height + parts.nose_length
    return np.array(
        [
            [side * 0.06, eyes.height + 0.02, 0.66],
            [side * 0.065, eyes.height + parts.nose_length * 0.55, 0.85],
            [side * width, tip - 0.07, 0.78],
            [side * width * 1.05, tip, 0.76],
            [side * width * 0.6, tip + 0.045, 0.82],
            [0.0, tip + 0.03 + 0.03 * parts.nose_bulb, 0.92],
        ]
    )


@functools.lru_cache
def nose(parts: NoseMouth, eyes: Eyes) -> Points:
    """The closed shape of the nose, and with a large bulb a round tip."""
    return np.concatenate([nose_side(parts, eyes, 1), nose_side(parts, eyes, -1)[::-1]])


def mouth_line(parts: NoseMouth, smile: float) -> tuple[Points, Points]:
    """x and y, each (9,), of the line between the lips; a smile widens it and lifts its corners."""
    x = _UNIT * parts.mouth_half_width * (1.0 + 0.18 * smile)
    return x, parts.mouth_height - 0.1 * smile * (_UNIT**2 - 0.4)


def lips(parts: NoseMouth, smile: float, gape: float) -> tuple[Points, Points]:
    """The outer outline of the lips (18, 3) and the opening between them (18, 3)."""
    x, line = mouth_line(parts, smile)
    round_off = 1.0 - _UNIT**2
    bow = 1.0 - 0.35 * np.exp(-((_UNIT / 0.22) ** 2))
    both = np.concatenate([x, x[::-1]])
    inner_low = line + gape * round_off
    outer = np.concatenate(
        [line - parts.lip_upper * round_off**0.7 * bow, (inner_low + parts.lip_lower * round_off**0.8)[::-1]]
    )
    inner = np.concatenate([line, inner_low[::-1]])
    return with_depth(both, outer, 0.66), with_depth(both, inner, 0.66)


def moustache(parts: NoseMouth, smile: float) -> Points:
    x, line = mouth_line(parts, smile)
    x, line = x * 1.1, line - parts.lip_upper
    thick = 0.03 + 0.1 * (1.0 - np.abs(_UNIT))
    return with_depth(np.concatenate([x, x[::-1]]), np.concatenate([line - thick, line[::-1] + 0.02]), 0.72)
