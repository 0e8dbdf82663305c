"""A drawn person: the facial parameters of one identity, all from its seed.

Lengths are in head units: the origin lies between the eyes, x to the right, y down, z towards the viewer; the chin is
near y = 1 and the top of the skull near y = -1.1. Colours are RGB, 0..255. The parts compare and hash by object, not by
value, so that outlines which are the same in every photo of a person can be cached.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.arrays import Float64Array

Colour = tuple[float, float, float]
Point = tuple[float, float]

HAIR_STYLES = (
    "bald",
    "horseshoe",
    "buzz",
    "short",
    "quiff",
    "spikes",
    "fringe",
    "long",
    "afro",
    "curly",
    "bun",
    "tails",
)
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
FRAMES = ("round", "square", "half")

_SKIN_TONES = np.array(
    [[253, 228, 208], [240, 198, 165], [212, 158, 118], [160, 106, 72], [96, 60, 44]], dtype=np.float64
)
_HAIR_COLOURS = np.array(
    [
        [28, 22, 24],
        [62, 38, 24],
        [118, 72, 36],
        [178, 122, 62],
        [226, 190, 118],
        [168, 62, 26],
        [150, 150, 156],
        [228, 226, 222],
        [60, 92, 170],
        [190, 70, 130],
        [50, 130, 104],
    ],
    dtype=np.float64,
)
_HAIR_SHARES = np.array([5, 5, 4, 3, 3, 3, 2, 1, 0.6, 0.6, 0.6])
_IRIS_COLOURS = np.array(
    [[70, 42, 24], [120, 82, 40], [88, 116, 60], [62, 122, 176], [128, 142, 150], [40, 150, 140]], dtype=np.float64
)
_FRAME_COLOURS = np.array([[24, 24, 28], [120, 62, 28], [176, 30, 40], [40, 70, 150], [190, 160, 80]], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Skull:
    """The outline of the face."""

    half_width: float
    crown: float  # height of the skull above the eyes
    chin: float  # depth of the chin below the eyes
    jaw: float  # exponent: small = narrow, large = square
    taper: float  # exponent: small = round, large = pointed
    ear_size: float
    ear_out: float  # distance of the ears from the skull
    neck: float


@dataclass(frozen=True, eq=False)
class Eyes:
    """Eyes and brows."""

    spread: float  # centre of the face to centre of an eye
    height: float
    half_width: float
    openness: float
    tilt: float
    iris: Colour
    iris_radius: float
    brow_gap: float
    brow_thickness: float
    brow_length: float
    brow_slant: float
    brow_arch: float


@dataclass(frozen=True, eq=False)
class NoseMouth:
    """Nose and mouth."""

    nose_length: float
    nose_half_width: float
    nose_bulb: float
    mouth_height: float
    mouth_half_width: float
    lip_upper: float
    lip_lower: float
    lip_colour: Colour


@dataclass(frozen=True, eq=False)
class Hair:
    """Hair of head and chin."""

    style: str
    colour: Colour
    volume: float
    hairline: float  # height of the hairline above the eyes
    parting: float  # -1 left .. 1 right
    peak: float  # widow's peak
    length: float
    beard: str
    waves: int  # seed of curls and strands


@dataclass(frozen=True, eq=False)
class Marks:
    """Moles, freckles, lines and glasses."""

    moles: tuple[tuple[float, float, float], ...]  # x, y, radius
    freckles: tuple[Point, ...]
    lines: float  # depth of the folds beside the nose, 0..1
    blush: float
    glasses_habit: float  # share of photos with glasses
    frame: str
    frame_colour: Colour


@dataclass(frozen=True, eq=False)
class Person:
    """One identity."""

    skin: Colour
    skull: Skull
    eyes: Eyes
    nose_mouth: NoseMouth
    hair: Hair
    marks: Marks


def draw_person(rng: np.random.Generator) -> Person:
    """Draw an identity from wide, uniform ranges, so that few people look alike."""
    melanin = rng.uniform(0.0, 1.0)
    skin = np.array([np.interp(melanin * 4, range(5), _SKIN_TONES[:, channel]) for channel in range(3)])
    skin *= 1.0 + rng.uniform(-0.05, 0.05, 3)
    skull = _draw_skull(rng)
    eyes = _draw_eyes(rng)
    return Person(
        skin=_colour(skin),
        skull=skull,
        eyes=eyes,
        nose_mouth=_draw_nose_mouth(rng, skin),
        hair=_draw_hair(rng),
        marks=_draw_marks(rng, skull),
    )


def _draw_skull(rng: np.random.Generator) -> Skull:
    return Skull(
        half_width=rng.uniform(0.66, 0.94),
        crown=rng.uniform(0.95, 1.2),
        chin=rng.uniform(0.88, 1.16),
        jaw=rng.uniform(1.7, 4.2),
        taper=rng.uniform(1.2, 2.4),
        ear_size=rng.uniform(0.13, 0.27),
        ear_out=rng.uniform(0.0, 0.12),
        neck=rng.uniform(0.36, 0.6),
    )


def _draw_eyes(rng: np.random.Generator) -> Eyes:
    half_width = rng.uniform(0.13, 0.2)
    return Eyes(
        spread=rng.uniform(half_width + 0.09, half_width + 0.24),
        height=rng.uniform(-0.08, 0.1),
        half_width=half_width,
        openness=rng.uniform(0.055, 0.125),
        tilt=rng.uniform(-0.3, 0.3),
        iris=_colour(_pick(rng, _IRIS_COLOURS) * rng.uniform(0.8, 1.2)),
        iris_radius=rng.uniform(0.065, 0.09),
        brow_gap=rng.uniform(0.15, 0.27),
        brow_thickness=rng.uniform(0.03, 0.095),
        brow_length=rng.uniform(0.15, 0.25),
        brow_slant=rng.uniform(-0.3, 0.35),
        brow_arch=rng.uniform(0.0, 0.08),
    )


def _draw_nose_mouth(rng: np.random.Generator, skin: Float64Array) -> NoseMouth:
    red = np.array([176.0, 52.0, 60.0])
    return NoseMouth(
        nose_length=rng.uniform(0.28, 0.5),
        nose_half_width=rng.uniform(0.08, 0.2),
        nose_bulb=rng.uniform(0.0, 1.0),
        mouth_height=rng.uniform(0.56, 0.7),
        mouth_half_width=rng.uniform(0.17, 0.37),
        lip_upper=rng.uniform(0.02, 0.08),
        lip_lower=rng.uniform(0.03, 0.11),
        lip_colour=_colour(skin * 0.8 + (red - skin * 0.8) * rng.uniform(0.15, 0.8)),
    )


def _draw_hair(rng: np.random.Generator) -> Hair:
    style = HAIR_STYLES[rng.integers(len(HAIR_STYLES))]
    index = rng.choice(len(_HAIR_COLOURS), p=_HAIR_SHARES / _HAIR_SHARES.sum())
    return Hair(
        style=style,
        colour=_colour(_HAIR_COLOURS[index] * rng.uniform(0.8, 1.2)),
        volume=rng.uniform(0.04, 0.22),
        hairline=rng.uniform(0.5, 0.8),
        parting=rng.uniform(-0.7, 0.7),
        peak=max(0.0, rng.uniform(-0.12, 0.14)),
        length=rng.uniform(0.0, 1.0),
        beard=BEARDS[rng.choice(5, p=[0.58, 0.09, 0.12, 0.09, 0.12])],
        waves=int(rng.integers(2**31)),
    )


def _draw_marks(rng: np.random.Generator, skull: Skull) -> Marks:
    moles = [
        (rng.uniform(-0.6, 0.6) * skull.half_width, rng.uniform(-0.35, 0.75) * skull.chin, rng.uniform(0.022, 0.045))
        for _ in range(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))
    ]
    freckles = rng.uniform((-0.55, 0.12), (0.55, 0.45), (18, 2)) if rng.random() < 0.2 else np.empty((0, 2))
    return Marks(
        moles=tuple(moles),
        freckles=tuple((float(x), float(y)) for x, y in freckles),
        lines=max(0.0, rng.uniform(-1.0, 1.0)),
        blush=max(0.0, rng.uniform(-0.6, 0.6)),
        glasses_habit=float(rng.choice([0.02, 0.98], p=[0.68, 0.32])),
        frame=FRAMES[rng.integers(len(FRAMES))],
        frame_colour=_colour(_pick(rng, _FRAME_COLOURS)),
    )


def _pick(rng: np.random.Generator, palette: Float64Array) -> Float64Array:
    row: Float64Array = palette[rng.integers(len(palette))]
    return row


def _colour(rgb: Float64Array) -> Colour:
    red, green, blue = np.clip(rgb, 0, 255).tolist()
    return red, green, blue
