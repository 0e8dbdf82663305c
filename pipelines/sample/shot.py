"""The circumstances of one photo: pose, light, expression, accessories, framing and camera."""

from dataclasses import dataclass

import numpy as np

from pipelines.sample.person import Colour, Person


@dataclass(frozen=True)
class Pose:
    """Position, size and direction of the head."""

    yaw: float  # radians, positive to the viewer's right
    pitch: float
    roll: float
    head_size: float  # canvas widths per head unit
    centre_x: float  # of the eyes, in canvas widths
    centre_y: float


@dataclass(frozen=True)
class Expression:
    """The expression of the face."""

    smile: float  # -0.5 sad .. 1 laughing
    mouth_open: float  # 0..1
    eyes_open: float  # factor on the person's own openness
    gaze_x: float
    gaze_y: float
    brow_raise: float


@dataclass(frozen=True)
class Light:
    """The light on the scene."""

    angle: float  # radians, direction of the light source
    strength: float  # 0 flat .. 0.5 hard
    colour: Colour  # factors near 1
    exposure: float


@dataclass(frozen=True)
class Wear:
    """Clothes and accessories."""

    clothes: Colour
    collar: Colour
    hat: Colour | None
    glasses: bool


@dataclass(frozen=True)
class Camera:
    """The size, noise and compression of the photo."""

    width_px: int
    height_px: int
    noise: float  # standard deviation, grey levels
    jpeg_quality: int


@dataclass(frozen=True)
class Shot:
    """All circumstances of one photo."""

    pose: Pose
    expression: Expression
    light: Light
    wear: Wear
    camera: Camera


def take_shot(rng: np.random.Generator, person: Person, *, size_px: tuple[int, int]) -> Shot:
    """Draw the circumstances of one photo, whose long side is within `size_px`."""
    return Shot(
        pose=_draw_pose(rng),
        expression=_draw_expression(rng),
        light=_draw_light(rng),
        wear=_draw_wear(rng, person),
        camera=_draw_camera(rng, size_px),
    )


def _draw_pose(rng: np.random.Generator) -> Pose:
    return Pose(
        yaw=rng.uniform(-0.3, 0.3),
        pitch=rng.uniform(-0.16, 0.16),
        roll=float(np.clip(rng.normal(0.0, 0.09), -0.25, 0.25)),
        head_size=rng.uniform(0.3, 0.345),
        centre_x=rng.uniform(0.45, 0.55),
        centre_y=rng.uniform(0.45, 0.53),
    )


def _draw_expression(rng: np.random.Generator) -> Expression:
    return Expression(
        smile=rng.uniform(-0.4, 1.0),
        mouth_open=max(0.0, rng.uniform(-1.0, 1.0)),
        eyes_open=rng.uniform(0.75, 1.1),
        gaze_x=rng.uniform(-1.0, 1.0),
        gaze_y=rng.uniform(-0.5, 0.5),
        brow_raise=rng.uniform(-0.02, 0.06),
    )


def _draw_light(rng: np.random.Generator) -> Light:
    red, green, blue = rng.uniform(0.96, 1.04, 3).tolist()
    return Light(
        angle=rng.uniform(-np.pi, 0.0),
        strength=rng.uniform(0.05, 0.3),
        colour=(red, green, blue),
        exposure=rng.uniform(0.9, 1.1),
    )


def _draw_wear(rng: np.random.Generator, person: Person) -> Wear:
    clothes, collar, hat = (tuple(rng.uniform(20, 235, 3).tolist()) for _ in range(3))
    return Wear(
        clothes=clothes,
        collar=collar,
        hat=hat if rng.random() < 0.02 else None,
        glasses=bool(rng.random() < person.marks.glasses_habit),
    )


def _draw_camera(rng: np.random.Generator, size_px: tuple[int, int]) -> Camera:
    height = int(rng.integers(size_px[0], size_px[1] + 1))
    return Camera(
        width_px=max(size_px[0], round(height * rng.uniform(0.9, 1.0))),
        height_px=height,
        noise=rng.uniform(1.0, 4.5),
        jpeg_quality=int(rng.integers(78, 97)),
    )
