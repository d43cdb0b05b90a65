"""How far two maps are apart, and what docs/differences.md says of it."""

import pathlib
import re

import numpy as np
import pytest

import keras_gradcam as kg
from keras_gradcam.arrays import GridAxis, placed
from keras_gradcam.evidence import gradient_evidence
from keras_gradcam.model import layer_output

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "differences.md"
IMAGES = np.random.default_rng(0).random((3, 16, 12, 3)).astype("float32")
CLASSES = [0, 1, 2]
# What float32 leaves of equal maps.
EQUAL = 1e-5


def our_map(model, layer, method="gradcam", target=CLASSES, images=IMAGES, **options):
    """The raw map on the layer's grid, unless options say otherwise."""
    options = {"activation": None, "normalize": None, "resize": False, **options}
    cam = kg.GradCAM(model, layer, method, **options)
    return cam(images, target=target).numpy()


def stretch_over_images(monkeypatch):
    """Lays our maps as all others do: over the whole image, wherever they belong."""

    def over_all(maps, grid_axes, *args, **kwargs):
        unplaced = [GridAxis(axis.input, axis.axis) for axis in grid_axes]
        return placed(maps, unplaced, *args, **kwargs)

    for module in (layer_output, gradient_evidence):
        monkeypatch.setattr(module, "placed", over_all)


def apart(ours, theirs):
    """The largest deviation of raw maps, relative to the map's largest magnitude."""
    assert ours.shape == theirs.shape
    peaks = np.abs(theirs).max((1, 2))
    assert (peaks > 0).all()
    return float((np.abs(ours - theirs).max((1, 2)) / peaks).max())


def difference(ours, theirs, signed=True):
    """The same of maps that are each divided by their own largest magnitude.

    Args:
        ours: Maps `(batch, height, width)`, none of them empty.
        theirs: The same.
        signed: `False` turns each of their maps to the sign that fits best.
    """
    ours, theirs = _scaled(ours), _scaled(theirs)
    found = np.abs(ours - theirs).max((1, 2))
    if not signed:
        found = np.minimum(found, np.abs(ours + theirs).max((1, 2)))
    return float(found.max())


def _scaled(maps):
    peaks = np.abs(maps).max((1, 2), keepdims=True)
    assert (peaks > 0).all()
    return maps / peaks


def stretched(maps):
    """From 0 to 1, as min-max does it."""
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    assert (high > low).all()
    return (maps - low) / (high - low)


def rows(library):
    """The cells "same" and "difference" of a library's methods on the page."""
    section = PAGE.read_text().split(f"\n## {library} ")[1].split("\n## ")[0]
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    cells = [line.split(" | ") for line in lines[1:]]
    return {each[0].replace("`", ""): (each[1], each[3]) for each in cells}


def assert_documented(library, method, measured):
    """Fails unless the page says of a method what was measured."""
    same, said = rows(library)[method]
    if same == "yes":
        bound = float(said.removeprefix("below "))
        assert measured < bound <= 10 * EQUAL
    else:
        assert same == "no"
        assert float(said) == pytest.approx(measured, rel=0.1)
