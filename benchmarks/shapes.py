"""Scenes of shapes whose masks are known: each class has one object, or none.

A scene has two or three objects of different classes before a background of noise and
stripes. Colours and sizes say nothing of the class. What a map of one class shows on
the objects of the others is heat in the wrong place.
"""

import numpy as np

SIZE = 64
CLASSES = ("disc", "ring", "square", "cross", "triangle", "bars")


def make(count, seed):
    """Makes scenes.

    Returns:
        Tuple of images, float32 in [0, 1] of shape `(count, 64, 64, 3)`; labels,
        float32 of 0 and 1, `(count, 6)`; and masks, booleans `(count, 6, 64, 64)`.
    """
    rng = np.random.default_rng(seed)
    images = np.stack([_background(rng) for _ in range(count)])
    labels = np.zeros((count, len(CLASSES)), "float32")
    masks = np.zeros((count, len(CLASSES), SIZE, SIZE), bool)
    for image, label, mask in zip(images, labels, masks, strict=True):
        chosen = rng.choice(len(CLASSES), rng.integers(2, 4), replace=False)
        taken = np.zeros((SIZE, SIZE), bool)
        for number in chosen:
            label[number] = 1
            mask[number] = _place(image, taken, CLASSES[number], rng)
    return np.clip(images, 0, 1).astype("float32"), labels, masks


def _background(rng):
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 8)
    stripes = np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)))
    base = rng.uniform(0.2, 0.8, 3) + 0.08 * stripes[..., None]
    return base + 0.06 * rng.standard_normal((SIZE, SIZE, 3))


def _place(image, taken, name, rng):
    """Draws a shape where nothing is yet; returns its mask."""
    while True:
        size = rng.integers(14, 23)
        top, left = rng.integers(0, SIZE - size, 2)
        box = np.s_[
            max(top - 2, 0) : top + size + 2, max(left - 2, 0) : left + size + 2
        ]
        if taken[box].any():
            continue
        taken[top : top + size, left : left + size] = True
        mask = np.zeros((SIZE, SIZE), bool)
        mask[top : top + size, left : left + size] = shape(name, size)
        around = image[top : top + size, left : left + size].mean((0, 1))
        # Clearly another colour than what is behind it.
        colour = (around + rng.uniform(0.3, 0.7, 3)) % 1.0
        image[mask] = colour + 0.06 * rng.standard_normal((mask.sum(), 3))
        return mask


def shape(name, size):
    """The mask of a shape, booleans `(size, size)`."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    radius = np.hypot(x, y)
    return {
        "disc": radius < 1,
        "ring": (radius < 1) & (radius > 0.55),
        "square": np.maximum(abs(x), abs(y)) < 0.85,
        "cross": np.minimum(abs(x), abs(y)) < 0.3,
        "triangle": abs(x) < (y + 1) / 2,
        "bars": (np.floor((y + 1) * 2.5) % 2 == 0) & (abs(x) < 0.9),
    }[name]
