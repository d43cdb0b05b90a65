"""Arithmetic on arrays with a spatial grid: no model, no formula."""

from keras_gradcam.arrays.channels import (
    grid_axes,
    most_varying,
    of_channels,
    over_grid,
)
from keras_gradcam.arrays.placement import GridAxis, onto_grid, placed
from keras_gradcam.arrays.precision import as_input, rounding, widened
from keras_gradcam.arrays.random_numbers import normal, uniform
from keras_gradcam.arrays.resizing import interpolated, resize
from keras_gradcam.arrays.value_ranges import divided, stretched

__all__ = [
    "GridAxis",
    "as_input",
    "divided",
    "grid_axes",
    "interpolated",
    "most_varying",
    "normal",
    "of_channels",
    "onto_grid",
    "over_grid",
    "resize",
    "placed",
    "rounding",
    "stretched",
    "uniform",
    "widened",
]
