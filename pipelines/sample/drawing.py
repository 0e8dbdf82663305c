"""Drawing one photo of one person: the parts of the head from back to front, then light, camera and grain."""

import math

import numpy as np

from pipelines.arrays import Picture
from pipelines.sample import hair, scene, shapes
from pipelines.sample.canvas import Canvas, dim, mix
from pipelines.sample.person import Colour, Person
from pipelines.sample.shot import Expression, Light, Shot, Wear

_DARK: Colour = (30.0, 20.0, 22.0)
_WHITE: Colour = (240.0, 238.0, 234.0)
_RING = np.stack([np.cos(np.linspace(0, 2 * np.pi, 14)), np.sin(np.linspace(0, 2 * np.pi, 14))], axis=-1)


def draw_photo(person: Person, shot: Shot, rng: np.random.Generator) -> Picture:
    """Draw a person in one shot, (height, width, 3) RGB."""
    canvas = Canvas(scene.background(rng), shot.pose)
    hair.draw_behind(canvas, person)
    _draw_body(canvas, person, shot.wear)
    _draw_head(canvas, person, shot.light)
    _draw_beard(canvas, person)
    _draw_marks(canvas, person)
    _draw_nose(canvas, person)
    _draw_mouth(canvas, person, shot.expression)
    for side in (-1, 1):
        _draw_eye(canvas, person, shot.expression, side)
    hair.draw_cap(canvas, person)
    _draw_wear(canvas, person, shot.wear)
    lit = scene.expose(canvas.picture, canvas.shade, shot.light, shot.camera)
    return scene.add_grain(lit, shot.camera, rng)


def _draw_body(canvas: Canvas, person: Person, wear: Wear) -> None:
    canvas.fill(shapes.shoulders(1.7, 1.25), wear.clothes)
    canvas.fill(shapes.neck(person.skull), dim(person.skin, 0.86))
    collar = shapes.neck(person.skull)[2:] * (1.08, 1.0, 1.0)
    canvas.stroke(collar, wear.collar, 0.08)


def _draw_head(canvas: Canvas, person: Person, light: Light) -> None:
    for side in (-1, 1):
        ear = shapes.ear(person.skull, side)
        canvas.fill(ear, dim(person.skin, 0.92))
        canvas.stroke(ear[2:10], dim(person.skin, 0.66), 0.02)
    face = shapes.face(person.skull)
    canvas.fill(face, person.skin)
    canvas.stroke(face, dim(person.skin, 0.72), 0.02, closed=True)
    # The lit part of the face is its outline moved towards the light; the rest and the neck are in the shade.
    towards = np.array([math.cos(light.angle), math.sin(light.angle), 0.0]) * 0.16
    canvas.shadow(shapes.neck(person.skull), 200)
    canvas.shadow(face, 255 - int(170 * light.strength))
    canvas.shadow(face * 0.92 + towards, 255)


def _draw_beard(canvas: Canvas, person: Person) -> None:
    skull, beard = person.skull, person.hair.beard
    colour = dim(person.hair.colour, 0.85)
    if beard == "stubble":
        canvas.fill(shapes.lower_face(skull, top=0.3, inset=0.12), mix(person.skin, colour, 0.4))
    elif beard == "full":
        canvas.fill(shapes.lower_face(skull, top=0.25, inset=0.2), colour)
    elif beard == "goatee":
        canvas.fill(shapes.lower_face(skull, top=person.nose_mouth.mouth_height - 0.1, inset=0.0, narrow=0.5), colour)


def _draw_marks(canvas: Canvas, person: Person) -> None:
    marks, parts = person.marks, person.nose_mouth
    if marks.blush > 0.1:
        for side in (-1, 1):
            cheek = shapes.with_depth(side * 0.45 + 0.15 * _RING[:, 0], 0.36 + 0.1 * _RING[:, 1], 0.6)
            canvas.fill(cheek, mix(person.skin, (220, 90, 90), marks.blush * 0.6))
    if len(marks.freckles):
        x, y = np.array(marks.freckles).T
        canvas.discs(shapes.with_depth(x, y, shapes.FACE_DEPTH), 0.018, dim(person.skin, 0.72))
    if marks.lines > 0.2:
        for side in (-1, 1):
            width = np.array([parts.nose_half_width + 0.04, parts.mouth_half_width + 0.1]) * float(side)
            fold = shapes.with_depth(width, np.array([0.34, parts.mouth_height]), 0.66)
            canvas.stroke(fold, dim(person.skin, 1.0 - 0.35 * marks.lines), 0.025)
    for across, down, radius in marks.moles:
        place = shapes.with_depth(np.array([across]), np.array([down]), shapes.FACE_DEPTH)
        canvas.discs(place, radius, (70, 36, 30))


def _draw_nose(canvas: Canvas, person: Person) -> None:
    parts, eyes = person.nose_mouth, person.eyes
    canvas.fill(shapes.nose(parts, eyes), dim(person.skin, 0.95))
    if parts.nose_bulb > 0.5:
        tip = np.array([[0.0, eyes.height + parts.nose_length - 0.03, 0.9]])
        canvas.discs(tip, parts.nose_half_width * 0.75, mix(dim(person.skin, 1.04), (230, 120, 110), 0.15))
    for side in (-1, 1):
        line = shapes.nose_side(parts, eyes, side)
        canvas.stroke(line[2:], dim(person.skin, 0.6), 0.028)
    light_side = shapes.nose_side(parts, eyes, 1)[:3]
    canvas.stroke(light_side, dim(person.skin, 0.8), 0.02)


def _draw_mouth(canvas: Canvas, person: Person, expression: Expression) -> None:
    parts = person.nose_mouth
    outer, inner = shapes.lips(parts, expression.smile, 0.16 * expression.mouth_open)
    if person.hair.beard in ("moustache", "full", "goatee"):
        canvas.fill(shapes.moustache(parts, expression.smile), dim(person.hair.colour, 0.8))
    canvas.fill(outer, parts.lip_colour)
    if expression.mouth_open > 0.1:
        canvas.fill(inner, (70, 20, 26))
        canvas.fill(
            np.concatenate([inner[1:8], inner[1:8][::-1] + np.array([0.0, 0.05 * expression.mouth_open, 0.0])]), _WHITE
        )
    else:
        canvas.stroke(inner[:9], dim(parts.lip_colour, 0.55), 0.022)


def _draw_eye(canvas: Canvas, person: Person, expression: Expression, side: int) -> None:
    eyes = person.eyes
    openness = eyes.openness * expression.eyes_open
    outline = shapes.eye(eyes, side, openness)
    canvas.fill(outline, _WHITE)
    centre = shapes.eye_centre(eyes, side) + np.array([0.05 * expression.gaze_x, 0.03 * expression.gaze_y, 0.0])
    radius = min(eyes.iris_radius, openness * 1.05)
    canvas.discs(centre, radius, eyes.iris)
    canvas.discs(centre, radius * 0.45, _DARK)
    canvas.discs(centre + np.array([0.025, -0.025, 0.0]), radius * 0.22, _WHITE)
    canvas.stroke(outline[:9], _DARK, 0.034)
    canvas.stroke(outline[9:], dim(person.skin, 0.62), 0.02)
    crease = outline[1:8] - (0.0, 0.055, 0.0)
    canvas.stroke(crease, dim(person.skin, 0.72), 0.02)
    canvas.fill(shapes.brow(eyes, side, expression.brow_raise), dim(person.hair.colour, 0.75))


def _draw_wear(canvas: Canvas, person: Person, wear: Wear) -> None:
    if wear.glasses:
        _draw_glasses(canvas, person)
    if wear.hat is not None:
        half, top = person.skull.half_width, person.skull.crown
        crown = [
            [-half * 1.08, -0.62, 0.1],
            [-half, -top - 0.2, 0.0],
            [half, -top - 0.2, 0.0],
            [half * 1.08, -0.62, 0.1],
        ]
        canvas.fill(np.array(crown), wear.hat)
        brim = [
            [-half * 1.4, -0.62, 0.3],
            [half * 1.4, -0.62, 0.3],
            [half * 1.4, -0.5, 0.35],
            [-half * 1.4, -0.5, 0.35],
        ]
        canvas.fill(np.array(brim), dim(wear.hat, 0.7))


def _draw_glasses(canvas: Canvas, person: Person) -> None:
    marks, eyes = person.marks, person.eyes
    shape = _RING if marks.frame == "round" else np.clip(_RING * 1.5, -1.0, 1.0)
    half_width, half_height = min(0.24, eyes.spread - 0.03), 0.2 if marks.frame == "round" else 0.16
    for side in (-1, 1):
        rim = shapes.with_depth(
            side * eyes.spread + half_width * shape[:, 0], eyes.height + half_height * shape[:, 1], 0.78
        )
        canvas.stroke(rim[6:] if marks.frame == "half" else rim, marks.frame_colour, 0.04)
        temple = np.array([rim[np.argmax(side * rim[:, 0])], [side * person.skull.half_width, eyes.height - 0.04, 0.0]])
        canvas.stroke(temple, marks.frame_colour, 0.035)
    bridge = shapes.with_depth(np.array([-1.0, 1.0]) * (eyes.spread - half_width), np.full(2, eyes.height - 0.03), 0.84)
    canvas.stroke(bridge, marks.frame_colour, 0.04)
