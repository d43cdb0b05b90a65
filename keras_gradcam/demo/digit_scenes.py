"""Cluttered scenes with one handwritten digit each, whose place is known.

Real pictures seldom come with a record of where the evidence is. These do, so a map
can be scored: the digit is enlarged and placed at random among fragments of other
digits, and its bounding box is kept.
"""

import functools

import numpy as np

SIZE = 64

DIGIT_SIZES = (24, 36)

FRAGMENTS_PER_SCENE = 18

GAP = 2

FRAGMENTS_PER_DIGIT = 4


def make_scenes(count, seed=0, split="train"):
    """Makes cluttered scenes of scikit-learn's handwritten digits.

    Each scene holds one whole digit. Around it lie fragments of other digits, each at
    most half as high and half as wide as the picture that it was cut from, so only
    the whole digit tells the class. Every fifth source digit serves the validation
    scenes and the others the training scenes, for digits and fragments alike: the
    two splits share no handwriting.

    Args:
        count: Integer. The number of scenes.
        seed: Integer. Equal seeds give equal scenes. Defaults to `0`.
        split: `"train"` or `"validation"`. Defaults to `"train"`.

    Returns:
        A tuple `(images, labels, boxes)` of NumPy arrays:

        - `images`: uint8 in `[0, 255]`, shape `(count, 64, 64, 1)`.
        - `labels`: int64 in `[0, 9]`, shape `(count,)`.
        - `boxes`: int64, shape `(count, 4)`. The digit's `(top, left, bottom, right)`
            in pixels; bottom and right are exclusive.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If `split` is not one of the two.

    Example:

    >>> images, labels, boxes = make_scenes(8000)
    >>> images.shape, labels.shape, boxes.shape
    ((8000, 64, 64, 1), (8000,), (8000, 4))
    """
    digits, digit_labels = source_digits(split)
    rng = np.random.default_rng(seed)
    fragments = _cut_fragments(digits, rng)
    chosen = rng.integers(len(digits), size=count)
    scenes = 0.1 + 0.03 * rng.standard_normal((count, SIZE, SIZE), "float32")
    boxes = np.empty((count, 4), "int64")
    for scene, box, index in zip(scenes, boxes, chosen, strict=True):
        box[:] = _place_digit(scene, digits[index], rng)
        _scatter(scene, box, fragments, rng)
    images = np.round(scenes.clip(0, 1) * 255).astype("uint8")
    return images[..., None], digit_labels[chosen], boxes


def source_digits(split):
    """Returns the handwritten digits that a split's scenes are made of.

    Args:
        split: `"train"` or `"validation"`.

    Returns:
        A tuple of pictures, float64 in `[0, 1]` of shape `(N, 8, 8)`, and labels,
        int64 of shape `(N,)`.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If `split` is not one of the two.
    """
    if split not in ("train", "validation"):
        raise ValueError(
            "Argument `split` must be 'train' or 'validation'. "
            f"Received: split={split!r}"
        )
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The demo's digits come with scikit-learn, which is not installed. "
            'Install it with: pip install "keras_gradcam[demo]"'
        ) from error
    data = load_digits()
    held_out = np.arange(len(data.target)) % 5 == 0
    keep = held_out if split == "validation" else ~held_out
    return data.images[keep] / 16.0, data.target[keep]


def _enlarge(digit, height, width):
    """Resizes an 8x8 digit bilinearly and hardens its strokes to look like ink."""
    ink = _bilinear(height) @ digit @ _bilinear(width).T
    ink = np.clip((ink - 0.3) / 0.7, 0, 1)
    return ink * ink * (3 - 2 * ink)


@functools.cache
def _bilinear(size):
    """Returns the weights `(size, 8)` that stretch eight pixels to `size`."""
    places = (np.arange(size) + 0.5) * 8 / size - 0.5
    return np.clip(1 - np.abs(places[:, None] - np.arange(8)), 0, 1)


def _trim(ink):
    """Cuts off the empty margins, so the box is the digit's own."""
    rows, columns = np.nonzero(ink > 0.5)
    return ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _cut_fragments(digits, rng):
    """Cuts random pieces, none over half a picture high or wide."""
    fragments = []
    for digit in np.repeat(digits, FRAGMENTS_PER_DIGIT, axis=0):
        size = rng.integers(*DIGIT_SIZES, endpoint=True)
        height, width = rng.integers(size // 4, size // 2, size=2, endpoint=True)
        top = rng.integers(size - height, endpoint=True)
        left = rng.integers(size - width, endpoint=True)
        ink = _enlarge(digit, size, size)[top : top + height, left : left + width]
        if 0.15 < ink.mean() < 0.6:
            fragments.append(ink)
    return fragments


def _place_digit(scene, digit, rng):
    """Draws the digit at a random place and returns its box."""
    ink = _trim(_enlarge(digit, *rng.integers(*DIGIT_SIZES, size=2, endpoint=True)))
    top, left = rng.integers(SIZE - np.array(ink.shape), endpoint=True)
    box = top, left, top + ink.shape[0], left + ink.shape[1]
    _paint(scene, box, ink * rng.uniform(0.6, 1))
    return box


def _scatter(scene, digit_box, fragments, rng):
    """Draws random fragments wherever they keep clear of the digit."""
    chosen = rng.integers(len(fragments), size=FRAGMENTS_PER_SCENE)
    starts = rng.integers(SIZE, size=(FRAGMENTS_PER_SCENE, 2))
    shapes = np.array([fragments[index].shape for index in chosen])
    stops = np.minimum(starts + shapes, SIZE)
    brightness = rng.uniform(0.4, 1, size=FRAGMENTS_PER_SCENE)
    apart = (stops <= digit_box[:2] - GAP) | (starts >= digit_box[2:] + GAP)
    for n in np.flatnonzero(apart.any(axis=1)):
        box = *starts[n], *stops[n]
        _paint(scene, box, fragments[chosen[n]] * brightness[n])


def _paint(scene, box, ink):
    """Draws light ink on a scene in place; what lies outside the box is cut off."""
    top, left, bottom, right = box
    region = scene[top:bottom, left:right]
    np.maximum(region, ink[: bottom - top, : right - left], out=region)
