"""Resizing and normalising, against TensorFlow and against loops."""

import numpy as np
import pytest
import replicas
import tensorflow as tf

from keras_gradcam.arrays.resizing import resize
from keras_gradcam.maps import normalization


@pytest.mark.parametrize("size", [(7, 5), (14, 15), (224, 200), (3, 2), (1, 1), (8, 3)])
def test_resize_equals_bilinear(size):
    grid = np.random.default_rng(0).normal(size=(3, 7, 5)).astype("float32")
    actual = resize(grid, size)
    expected = tf.image.resize(grid[..., None], size, method="bilinear")[..., 0]
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    np.testing.assert_allclose(actual[0], replicas.bilinear(grid[0], *size), atol=1e-5)


def test_resize_with_a_size_known_only_at_run_time():
    grid = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    dynamic = tf.function(
        resize,
        input_signature=[
            tf.TensorSpec([None, None, None]),
            tf.TensorSpec([2], tf.int32),
        ],
    )
    for size in [(9, 11), (2, 30)]:
        np.testing.assert_allclose(dynamic(grid, size), resize(grid, size), atol=1e-6)


def test_resize_of_any_rank_is_separable():
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=(1, n)).astype("float32") for n in (3, 4, 5))
    volume = np.einsum("ni,nj,nk->nijk", a, b, c)
    size = (6, 9, 7)
    lines = [resize(x, [n]) for x, n in zip((a, b, c), size, strict=True)]
    expected = np.einsum("ni,nj,nk->nijk", *lines)
    np.testing.assert_allclose(resize(volume, size), expected, atol=1e-5)


def test_resize_keeps_constants_and_infinities_in_place():
    flat = np.full((1, 4, 4), 3.5, "float32")
    np.testing.assert_array_equal(resize(flat, (9, 9)), np.full((1, 9, 9), 3.5))


@pytest.mark.parametrize("name", ["max", "minmax", "batch"])
def test_flat_and_empty_maps_are_zeros_not_nan(name):
    normalize = normalization.get_normalization(name)
    assert np.array_equal(
        normalize(np.zeros((2, 3, 3), "float32")), np.zeros((2, 3, 3))
    )
    flat = normalize(np.full((2, 3, 3), 5.0, "float32"))
    assert np.array_equal(flat, np.full((2, 3, 3), 0.0 if name == "minmax" else 1.0))


@pytest.mark.parametrize("name", ["max", "minmax"])
def test_a_sample_is_normalised_by_itself(name):
    normalize = normalization.get_normalization(name)
    batch = np.random.default_rng(0).normal(size=(3, 4, 4)).astype("float32")
    scaled = batch * np.float32([1, 1e3, 1e-12])[:, None, None]
    np.testing.assert_allclose(normalize(scaled), normalize(batch), atol=1e-5)
