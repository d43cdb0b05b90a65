"""Pictures, compared with closed forms, with matplotlib and with Pillow."""

import pickle
import re
import subprocess
import sys

import matplotlib
import ml_dtypes
import numpy as np
import pytest
from conftest import ROOT
from matplotlib import pyplot as plt
from PIL import Image

from keras_gradcam.pictures import overlays
from keras_gradcam.pictures.conversion import to_uint8
from keras_gradcam.pictures.figures import show
from keras_gradcam.pictures.image_files import load_image
from keras_gradcam.pictures.overlays import colorize, overlay
from keras_gradcam.pictures.panels import (
    OUTLINE_COLOR,
    _fit,
    _font,
    grid,
    headed,
    panel,
)

RNG = np.random.default_rng(7)
PIXELS = RNG.integers(0, 256, (6, 8, 3), np.uint8)
HEATMAP = RNG.random((6, 8)).astype(np.float32)
SIGNED = 2 * HEATMAP - 1
STRIPS = {None: (66, 66, 66), True: (24, 121, 56), False: (190, 32, 38)}


def test_import_is_light():
    # Without what the package itself imports.
    code = (
        "import sys, types; package = types.ModuleType('keras_gradcam');"
        "package.__path__ = [sys.argv[1]]; sys.modules['keras_gradcam'] = package;"
        "import keras_gradcam.pictures;"
        "print(sorted({'tensorflow', 'keras', 'matplotlib', 'PIL'} & {*sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(ROOT / "keras_gradcam")]
    assert subprocess.check_output(command, text=True).strip() == "[]"


# load_image


def save(path, pixels, **options):
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(path, **options)
    return path


def test_load_image_reads_rgb_that_can_be_written(tmp_path):
    loaded = load_image(save(tmp_path / "a.png", PIXELS))
    assert loaded.dtype == np.uint8
    assert loaded.flags.writeable
    np.testing.assert_array_equal(loaded, PIXELS)


def test_load_image_takes_a_string(tmp_path):
    path = str(save(tmp_path / "a.png", PIXELS))
    np.testing.assert_array_equal(load_image(path), PIXELS)


def test_load_image_resizes_to_height_and_width(tmp_path):
    path = save(tmp_path / "a.png", PIXELS)
    expected = Image.fromarray(PIXELS).resize((5, 3), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(load_image(path, (3, 5)), np.array(expected))


def test_load_image_antialiases_when_it_shrinks(tmp_path):
    checkers = np.uint8(255 * (np.indices((64, 64)).sum(axis=0) % 2))
    small = load_image(save(tmp_path / "a.png", checkers), (4, 4))
    np.testing.assert_allclose(small, 127.5, atol=2)


def test_load_image_applies_the_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned: rows of the file are columns.
    path = save(tmp_path / "a.png", PIXELS, exif=exif)
    np.testing.assert_array_equal(load_image(path), np.rot90(PIXELS, -1))


def test_load_image_scales_16_bits(tmp_path):
    levels = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    loaded = load_image(save(tmp_path / "a.png", levels))
    np.testing.assert_array_equal(loaded[..., 1].ravel(), np.arange(256))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA", "CMYK", "P"])
def test_load_image_converts(mode, tmp_path):
    picture = Image.fromarray(PIXELS).convert(mode)
    loaded = load_image(save(tmp_path / "a.tif", picture))
    assert loaded.shape == PIXELS.shape
    np.testing.assert_array_equal(loaded, np.array(picture.convert("RGB")))


def test_load_image_drops_the_transparency_of_a_palette(tmp_path):
    picture = Image.fromarray(PIXELS).quantize(8)
    path = save(tmp_path / "a.png", picture, transparency=bytes(range(8)))
    np.testing.assert_array_equal(load_image(path), np.array(picture.convert("RGB")))


def test_load_image_guesses_floats(tmp_path):
    path = save(tmp_path / "a.tif", np.full((2, 2), 0.2, np.float32))
    np.testing.assert_array_equal(load_image(path), np.full((2, 2, 3), 51))


def test_load_image_keeps_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.png"):
        load_image(tmp_path / "missing.png")


@pytest.mark.parametrize("kind", ["text", "truncated"])
def test_load_image_names_a_file_that_is_no_picture(kind, tmp_path):
    path = save(tmp_path / "broken.png", RNG.integers(0, 256, (64, 64), np.uint8))
    path.write_bytes(b"text" if kind == "text" else path.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"`path` must be a picture.*broken\.png"):
        load_image(path)


@pytest.mark.parametrize(
    "size", [224, (224,), (0, 5), (-1, 5), ("a", 1), (1, np.nan), (1, np.inf)]
)
def test_load_image_needs_a_pair(size, tmp_path):
    path = save(tmp_path / "a.png", PIXELS)
    message = re.escape(
        "`target_size` must be `(height, width)`, two positive integers. "
        f"Received: target_size={size}"
    )
    with pytest.raises(ValueError, match=message):
        load_image(path, size)


# to_uint8: ranges

LEVELS = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize(
    ("image", "value_range"),
    [
        (np.uint8(LEVELS), None),
        (np.int16(LEVELS), None),
        (np.int64(LEVELS), None),
        (np.uint8(LEVELS), (0, 255)),
        (np.float32(LEVELS), None),
        (np.float64(LEVELS), None),
        (np.float16(LEVELS), None),
        (LEVELS.astype(ml_dtypes.bfloat16), None),
        (np.float32(LEVELS / 255), None),
        (np.float64(LEVELS / 255), None),
        (np.float32(LEVELS / 255), (0, 1)),
        (np.float32(LEVELS / 127.5 - 1), (-1, 1)),
        (np.uint16(LEVELS * 257), (0, 65535)),
        (np.int8(LEVELS - 128), (-128, 127)),
        (np.float16(LEVELS - 1000), (-1000, -745)),
        (LEVELS.tolist(), None),
        ((LEVELS / 255).tolist(), None),
    ],
    ids=str,
)
def test_to_uint8_gives_the_256_levels_back(image, value_range):
    picture = to_uint8(image, value_range)
    assert picture.dtype == np.uint8
    assert picture.shape == (16, 16, 3)
    for channel in range(3):
        np.testing.assert_array_equal(picture[..., channel], LEVELS)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ([[True, False]], [255, 0]),
        ([[0, 1]], [0, 1]),
        ([[0.0, 1.0]], [0, 255]),
        ([[0.0, 0.4]], [0, 102]),
        ([[0.0, 2.01]], [0, 2]),
        ([[0.0, 0.0]], [0, 0]),
        ([[0.0, 254.6]], [0, 255]),
        ([[0.5, 100.7]], [0, 101]),
    ],
    ids=str,
)
def test_to_uint8_guesses_where_it_is_safe(image, expected):
    assert to_uint8(image)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("image", "dtype", "received"),
    [
        ([[-1.0, 1.0]], "float64", "[-1, 1]"),
        ([[0.0, 1.5]], "float64", "[0, 1.5]"),
        ([[0.0, 2.0]], "float64", "[0, 2]"),
        ([[0.0, 255.5]], "float64", "[0, 255.5]"),
        ([[-0.1, 200.0]], "float64", "[-0.1, 200]"),
        ([[0, 256]], "int64", "[0, 256]"),
        ([[-1, 5]], "int64", "[-1, 5]"),
        ([[-1.0, np.nan, np.inf]], "float64", "[-1, -1]"),
    ],
)
def test_to_uint8_asks_for_the_range(image, dtype, received):
    message = (
        "The range of `image` cannot be guessed. Pass it, for instance "
        "`to_uint8(image, value_range=(-1, 1))`; draw an image that was fed to "
        "`preprocess_input` in its original form. "
        f"Received: image of dtype {dtype} with values in {received}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        to_uint8(np.array(image))


def test_to_uint8_scales_uint8_to_a_given_range():
    mask = np.array([[0, 1]], np.uint8)
    assert to_uint8(mask, (0, 1))[0, :, 0].tolist() == [0, 255]


def test_to_uint8_guesses_once_for_a_batch():
    batch = np.stack([np.full((5, 5, 3), 0.5), np.full((5, 5, 3), 200.0)])
    assert [picture.max() for picture in to_uint8(batch)] == [0, 200]


def test_to_uint8_clips_and_rounds_to_nearest():
    row = [-7.0, -1.0, -0.9962, -0.9959, 0.0, 0.999, 1.0, 9.0]
    picture = to_uint8([row], (-1, 1))
    assert picture[0, :, 0].tolist() == [0, 0, 0, 1, 128, 255, 255, 255]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value_range", [None, (0, 1)])
def test_to_uint8_draws_broken_pixels(dtype, value_range):
    row = np.array([[np.nan, np.inf, -np.inf, 0.2, 1.0]], dtype)
    picture = to_uint8(row, value_range)
    assert picture[0, :, 0].tolist() == [0, 255, 0, 51, 255]


def test_to_uint8_clips_what_float32_cannot_hold():
    assert to_uint8([[1e300, 0.0]], (0, 1))[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("image", [np.full((2, 2), np.nan), np.zeros((0, 8, 8, 3))])
def test_to_uint8_of_nothing_is_black(image):
    assert not to_uint8(image).any()


@pytest.mark.parametrize(
    "value_range", [1, (1,), (0, 1, 2), (1, 0), (3, 3), (0, np.inf), "ab", (np.nan, 1)]
)
def test_to_uint8_needs_a_range(value_range):
    message = re.escape(
        "`value_range` must be `(low, high)`, two finite numbers with low < high. "
        f"Received: value_range={value_range}"
    )
    with pytest.raises(ValueError, match=message):
        to_uint8(PIXELS, value_range)


# to_uint8: axes


def pixels(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


def rgb(array):
    """Channels last; gray is repeated, alpha is dropped."""
    return np.repeat(array, 3, -1) if array.shape[-1] == 1 else array[..., :3]


@pytest.mark.parametrize("data_format", [None, "channels_last", "channels_first"])
@pytest.mark.parametrize("batch", [(), (1,), (2,), (3,)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_to_uint8_of_channels(channels, batch, data_format):
    image = pixels(*batch, 6, 8, channels)
    first = np.ascontiguousarray(np.moveaxis(image, -1, -3))
    given = first if data_format == "channels_first" else image
    picture = to_uint8(given, data_format=data_format)
    np.testing.assert_array_equal(picture, rgb(image))
    assert picture.flags.c_contiguous


@pytest.mark.parametrize("shape", [(3, 6, 8), (1, 6, 8), (4, 6, 8), (2, 3, 6, 8)])
def test_to_uint8_finds_the_channels_first(shape):
    image = pixels(*shape)
    picture = to_uint8(image)
    np.testing.assert_array_equal(picture, rgb(np.moveaxis(image, -3, -1)))


@pytest.mark.parametrize("shape", [(3, 8, 3), (4, 6, 1), (2, 3, 6, 4)])
def test_to_uint8_takes_the_last_of_two_channel_axes(shape):
    image = pixels(*shape)
    np.testing.assert_array_equal(to_uint8(image), rgb(image))
    first = to_uint8(image, data_format="channels_first")
    np.testing.assert_array_equal(first, rgb(np.moveaxis(image, -3, -1)))


@pytest.mark.parametrize("data_format", [None, "channels_last", "channels_first"])
@pytest.mark.parametrize("shape", [(6, 8), (3, 3), (6, 1)])
def test_to_uint8_of_two_axes_is_gray(shape, data_format):
    image = pixels(*shape)
    picture = to_uint8(image, data_format=data_format)
    np.testing.assert_array_equal(picture, rgb(image[..., None]))


@pytest.mark.parametrize("count", [2, 5])
def test_to_uint8_of_a_gray_batch(count):
    image = pixels(count, 6, 8)
    np.testing.assert_array_equal(to_uint8(image), rgb(image[..., None]))


@pytest.mark.parametrize(
    ("shape", "data_format"),
    [
        ((5, 6, 8), "channels_last"),
        ((5, 6, 8), "channels_first"),
        ((3, 6, 8), "channels_last"),
        ((6, 8, 3), "channels_first"),
        ((2, 6, 8, 5), None),
        ((2, 6, 8, 3), "channels_first"),
    ],
)
def test_to_uint8_needs_channels(shape, data_format):
    message = re.escape(
        "`image` must have an axis of 1, 3 or 4 channels. Pick the channels to draw, "
        "as in `image[..., :3]`; give gray images an axis, `image[..., None]`. "
        f"Received: image.shape={shape}, data_format={data_format!r}"
    )
    with pytest.raises(ValueError, match=message):
        to_uint8(pixels(*shape), data_format=data_format)


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 6, 8, 3)])
def test_to_uint8_needs_two_to_four_axes(shape):
    message = re.escape(f"3 (an image) or 4 (a batch). Received: image.shape={shape}")
    with pytest.raises(ValueError, match=message):
        to_uint8(np.zeros(shape))


def test_to_uint8_needs_a_data_format():
    message = (
        '`None`, "channels_last" or "channels_first". Received: data_format=\'last\''
    )
    with pytest.raises(ValueError, match=message):
        to_uint8(PIXELS, data_format="last")


class Tensor:
    def __array__(self, dtype=None, copy=None):
        return PIXELS


def test_to_uint8_takes_tensors():
    np.testing.assert_array_equal(to_uint8(Tensor()), PIXELS)


@pytest.mark.parametrize("image", [None, "cat.jpg", [[1j]], {"image": 1}])
def test_to_uint8_needs_numbers(image):
    message = "`image` must be an array of real numbers; read a file with `load_image`"
    with pytest.raises(TypeError, match=message):
        to_uint8(image)


def test_to_uint8_needs_one_size():
    with pytest.raises(
        ValueError, match="draw images of several sizes one by one.*list"
    ):
        to_uint8([pixels(6, 8, 3), pixels(8, 6, 3)])


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3), (2, 6, 8, 3)])
def test_to_uint8_shares_no_memory(shape):
    image = pixels(*shape)
    assert not np.shares_memory(to_uint8(image), image)


# colorize

SEQUENTIAL = ["jet", "turbo", "viridis", "gray"]
DIVERGING = ["coolwarm", "seismic", "RdBu_r", "bwr_r"]


@pytest.mark.parametrize("name", SEQUENTIAL)
@pytest.mark.parametrize("shape", [(6, 8), (2, 6, 8), (2, 3, 1, 1)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_colorize_is_matplotlib(name, shape, dtype):
    heatmap = RNG.random(shape).astype(dtype)
    expected = matplotlib.colormaps[name](heatmap.astype("float32"), bytes=True)
    colors = colorize(heatmap, name)
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors, expected[..., :3])


@pytest.mark.parametrize("name", SEQUENTIAL + DIVERGING)
def test_colorize_ends_at_the_ends(name):
    low = -1 if name in DIVERGING else 0
    table = matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]
    colors = colorize([[low, 1]], name)
    np.testing.assert_array_equal(colors[0], table[[0, -1]])


@pytest.mark.parametrize("name", DIVERGING)
def test_colorize_of_signed_heatmaps_has_zero_in_the_middle(name):
    expected = matplotlib.colormaps[name]((SIGNED + 1) / 2, bytes=True)[..., :3]
    np.testing.assert_array_equal(colorize(SIGNED, name), expected)
    zero = colorize([[0.0]], name)[0, 0]
    assert np.ptp(zero.astype(int)) <= 8


def test_colorize_has_a_neutral_middle_in_each_diverging_colormap():
    # The middle of a diverging colormap is lighter, or darker, than both its ends.
    for name in overlays.DIVERGING:
        light = colorize([[-1, 0, 1]], name)[0].sum(axis=-1, dtype=int)
        assert (light[1] - light[0]) * (light[1] - light[2]) > 0, name


def test_colorize_default_is_jet():
    np.testing.assert_array_equal(colorize(HEATMAP), colorize(HEATMAP, "jet"))


def test_colorize_takes_a_colormap_of_any_length():
    colormap = matplotlib.colors.ListedColormap(["black", "white"])
    colors = colorize([[0, 0.49, 0.51, 1]], colormap)
    assert colors[0, :, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("peak", [0, 1, 2, 254, 255])
@pytest.mark.parametrize("colormap", ["jet", "coolwarm"])
def test_colorize_takes_bytes_as_255ths(peak, colormap):
    """Also faint ones, whose bytes are zeros and ones like those of a mask."""
    faint = np.array([[0, peak]], np.uint8)
    expected = colorize([[0, peak / 255]], colormap)
    np.testing.assert_array_equal(colorize(faint, colormap), expected)
    batch = np.stack([faint, np.full_like(faint, 200)])
    np.testing.assert_array_equal(colorize(batch, colormap)[0], expected)


def test_colorize_takes_masks_of_booleans():
    mask = np.array([[False, True]])
    np.testing.assert_array_equal(colorize(mask), colorize([[0.0, 1.0]]))


@pytest.mark.parametrize("colormap", ["jet", "coolwarm"])
def test_colorize_draws_broken_values_gray(colormap):
    colors = colorize([[np.nan, np.inf, -np.inf, 1.0]], colormap)[0]
    assert colors[:3].tolist() == [[128, 128, 128]] * 3
    np.testing.assert_array_equal(colors[3:], colorize([[1.0]], colormap)[0])


@pytest.mark.parametrize(
    ("values", "colormap", "low", "received"),
    [
        ([0, 1.01], "jet", 0, "[0, 1.01]"),
        ([-0.5, 1], "jet", 0, "[-0.5, 1]"),
        ([-0.5, 1], "viridis", 0, "[-0.5, 1]"),
        ([-1.01, 1], "coolwarm", -1, "[-1.01, 1]"),
        ([0, 37.25, np.nan], "RdBu_r", -1, "[0, 37.25]"),
    ],
)
def test_colorize_needs_values_in_the_span(values, colormap, low, received):
    message = (
        f'`heatmap` must have values in [{low}, 1] for the colormap "{colormap}". '
        "Divide a raw heatmap by its largest absolute value; draw a signed one with a "
        'diverging colormap, such as colormap="coolwarm". '
        f"Received: heatmap with values in {received}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        colorize([values], colormap)


def test_colorize_forgives_rounding():
    np.testing.assert_array_equal(colorize([[-0.0009, 1.0009]]), colorize([[0, 1]]))


@pytest.mark.parametrize("colormap", ["rainbows", None, 3, ["jet"]])
def test_colorize_lists_colormaps(colormap):
    message = re.escape(
        '"coolwarm" for signed heatmaps; `list(matplotlib.colormaps)` has them all. '
        f"Received: colormap={colormap!r}"
    )
    with pytest.raises(ValueError, match=message):
        colorize(HEATMAP, colormap)


def test_colorize_needs_two_axes():
    message = r"`\(\.\.\., H, W\)`. Received: heatmap.shape=\(3,\)"
    with pytest.raises(ValueError, match=message):
        colorize([0, 0.5, 1])


def test_colorize_needs_numbers():
    with pytest.raises(TypeError, match="`heatmap` must be an array of real numbers"):
        colorize(None)


# overlay


@pytest.mark.parametrize("alpha", [0, 0.3, 0.7, 1])
def test_overlay_keeps_cold_pixels(alpha):
    picture = overlay(PIXELS, np.zeros((6, 8)), alpha)
    np.testing.assert_array_equal(picture, PIXELS)


def test_overlay_with_alpha_1_is_the_color_of_hot_pixels():
    picture = overlay(PIXELS, np.ones((6, 8)), 1)
    np.testing.assert_array_equal(picture, colorize(np.ones((6, 8))))


def test_overlay_with_alpha_0_is_the_image():
    np.testing.assert_array_equal(overlay(PIXELS, HEATMAP, 0), PIXELS)


@pytest.mark.parametrize("alpha", [0.25, 0.7])
@pytest.mark.parametrize(
    ("heatmap", "colormap"), [(HEATMAP, "jet"), (SIGNED, "coolwarm")]
)
def test_overlay_is_the_formula(heatmap, colormap, alpha):
    strength = alpha * np.abs(heatmap.astype(np.float64))[..., None]
    expected = PIXELS * (1 - strength)
    expected += colorize(heatmap, colormap) * strength
    picture = overlay(PIXELS, heatmap, alpha, colormap)
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture, expected, atol=0.501)


def test_overlay_defaults():
    np.testing.assert_array_equal(
        overlay(PIXELS, HEATMAP), overlay(PIXELS, HEATMAP, 0.7, "jet")
    )


def test_overlay_of_a_batch_is_each_overlay():
    batch, heatmaps = pixels(3, 6, 8, 3), RNG.random((3, 2, 2))
    pairs = zip(batch, heatmaps, strict=True)
    np.testing.assert_array_equal(
        overlay(batch, heatmaps), [overlay(*pair) for pair in pairs]
    )


def test_overlay_of_an_empty_batch():
    picture = overlay(np.zeros((0, 6, 8, 3)), np.zeros((0, 2, 2)))
    assert picture.shape == (0, 6, 8, 3)


def test_overlay_reads_the_image_as_to_uint8_does():
    # Three columns: without a data format, they would be the channels.
    image, heatmap = PIXELS[:, :3], HEATMAP[:, :3]
    first = np.moveaxis(image, -1, 0) / 127.5 - 1
    picture = overlay(first, heatmap, value_range=(-1, 1), data_format="channels_first")
    np.testing.assert_array_equal(picture, overlay(image, heatmap))


def test_overlay_resizes_the_heatmap_bilinearly():
    # Pixel centers at 1/4 and 3/4 of the width become centers at 1/8, 3/8, 5/8, 7/8.
    fine = np.tile([0, 0.25, 0.75, 1], (4, 1))
    image = pixels(4, 4, 3)
    np.testing.assert_array_equal(
        overlay(image, [[0, 1], [0, 1]]), overlay(image, fine)
    )


def test_overlay_resizes_to_height_and_width():
    heatmap = np.array([[0, 1, 0.5]])
    assert overlay(PIXELS, heatmap).shape == (6, 8, 3)


@pytest.mark.parametrize("size", [(6, 8), (2, 2)])
def test_overlay_draws_a_broken_heatmap_gray(size):
    expected = np.rint(0.3 * PIXELS + 0.7 * 128)
    picture = overlay(PIXELS, np.full(size, np.nan))
    np.testing.assert_allclose(picture, expected, atol=1)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, np.nan])
def test_overlay_needs_an_alpha(alpha):
    message = re.escape(f"`alpha` must be in [0, 1]. Received: alpha={alpha}")
    with pytest.raises(ValueError, match=message):
        overlay(PIXELS, HEATMAP, alpha)


@pytest.mark.parametrize(
    ("image", "heatmap"),
    [
        ((6, 8, 3), (1, 6, 8)),
        ((1, 6, 8, 3), (6, 8)),
        ((2, 6, 8, 3), (3, 6, 8)),
        ((6, 8, 3), (8,)),
    ],
)
def test_overlay_needs_a_heatmap_for_each_image(image, heatmap):
    message = re.escape(f"Received: heatmap.shape={heatmap}")
    with pytest.raises(ValueError, match=message):
        overlay(pixels(*image), np.zeros(heatmap))


def test_overlay_says_how_to_match():
    message = (
        "`heatmap` must be `(h, w)` for one image and `(B, h, w)` for a batch; a list "
        "has one array per layer. Received: heatmap.shape=(4, 6, 8), "
        "image.shape=(6, 8, 3) as RGB"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        overlay(pixels(4, 6, 8), np.zeros((4, 6, 8)))


# panel


def cells(picture, count):
    return np.split(picture, count, axis=1)


def test_panel_is_image_colors_overlay():
    image = pixels(230, 300, 3)
    heatmap = RNG.random((230, 300))
    first, second, third = cells(panel(image, heatmap), 3)
    np.testing.assert_array_equal(first, image)
    np.testing.assert_array_equal(second, colorize(heatmap))
    np.testing.assert_array_equal(third, overlay(image, heatmap))


@pytest.mark.parametrize("kind", [list, tuple])
def test_panel_of_layers_has_a_pair_for_each(kind):
    image = pixels(224, 224, 3)
    heatmaps = kind(RNG.random((size, size)) for size in (7, 14, 224))
    parts = cells(panel(image, heatmaps), 7)
    for index, heatmap in enumerate(heatmaps):
        _, colors, painted = cells(panel(image, heatmap), 3)
        np.testing.assert_array_equal(parts[1 + 2 * index], colors)
        np.testing.assert_array_equal(parts[2 + 2 * index], painted)


def test_panel_passes_alpha_and_colormap_on():
    image = pixels(224, 20, 3)
    heatmap = 2 * RNG.random((224, 20)) - 1
    picture = panel(image, heatmap, alpha=0.2, colormap="coolwarm")
    _, colors, painted = cells(picture, 3)
    np.testing.assert_array_equal(colors, colorize(heatmap, "coolwarm"))
    np.testing.assert_array_equal(painted, overlay(image, heatmap, 0.2, "coolwarm"))


@pytest.mark.parametrize(
    ("height", "min_size", "factor"),
    [(28, 224, 8), (64, 224, 4), (100, 224, 3), (223, 224, 2), (224, 224, 1)]
    + [(300, 224, 1), (28, 28, 1), (28, 29, 2), (28, 0, 1)],
)
def test_panel_enlarges_by_a_whole_factor(height, min_size, factor):
    image = pixels(height, 10, 3)
    picture = panel(image, np.zeros((5, 5)), min_size=min_size)
    crisp = np.kron(image, np.ones((factor, factor, 1), np.uint8))
    np.testing.assert_array_equal(cells(picture, 3)[0], crisp)


def test_panel_resizes_small_heatmaps_smoothly():
    picture = panel(pixels(28, 28, 3), np.eye(28), colormap="gray")
    assert len(np.unique(cells(picture, 3)[1])) > 16


def test_panel_guesses_the_range_of_the_image():
    image = pixels(224, 8, 3)
    np.testing.assert_array_equal(
        panel(image / 255, np.zeros((2, 2))),
        panel(image, np.zeros((2, 2))),
    )
    with pytest.raises(ValueError, match="range of `image` cannot be guessed"):
        panel(image / 127.5 - 1, np.zeros((2, 2)))


def test_panel_needs_one_image():
    message = r"call it for each image of a batch. Received: image.shape=\(2, 6, 8, 3\)"
    with pytest.raises(ValueError, match=message):
        panel(pixels(2, 6, 8, 3), np.zeros((2, 6, 8)))


def strip(caption, shape=(224, 224), layers=1, **options):
    """The strip alone; what is above it must not depend on the caption."""
    image, heatmaps = np.zeros((*shape, 3), np.uint8), [np.zeros((2, 2))] * layers
    bare = panel(image, heatmaps, **options)
    picture = panel(image, heatmaps, caption, **options)
    np.testing.assert_array_equal(picture[: len(bare)], bare)
    return picture[len(bare) :]


CAPTIONS = {
    "short": "cat 0.98",
    "empty": "",
    "long": "Golden retriever 0.53 | true: Labrador",
    "two lines": "Golden retriever 0.53, Labrador retriever 0.21 | true: kuvasz, 0.11",
    "endless": "word " * 3000,
    "no space": "a_very_long_token" * 20,
    "late space": "a " + "very_long_token" * 20,
    "lines": "one\ntwo\r\n\tthree",
    "scripts": "Ωμέγα Привет Żółć déjà-vu",
    "number": 7,
}


@pytest.mark.parametrize("shape", [(224, 224), (28, 28), (300, 900), (224, 30)])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("caption", CAPTIONS.values(), ids=CAPTIONS)
def test_panel_cuts_no_caption(caption, layers, shape):
    drawn = strip(caption, shape, layers, correct=True)
    edge = [drawn[0], drawn[-1], drawn[:, :2].ravel(), drawn[:, -2:].ravel()]
    for line in edge:
        assert (line.reshape(-1, 3) == STRIPS[True]).all()
    assert (drawn != STRIPS[True]).any() == (caption != "")


@pytest.mark.parametrize(
    "correct", [None, True, False, np.True_, np.False_, np.array(True)]
)
def test_panel_has_a_solid_strip_with_white_text(correct):
    color = STRIPS[None if correct is None else bool(correct)]
    drawn = strip("cat", correct=correct).reshape(-1, 3)
    values, counts = np.unique(drawn, axis=0, return_counts=True)
    assert tuple(values[counts.argmax()]) == color
    assert values.max(axis=0).tolist() == [255, 255, 255]


def test_panel_sizes_do_not_depend_on_the_caption():
    assert len({strip(caption).shape for caption in CAPTIONS.values()}) == 1


def rows_of_text(drawn):
    """Start and end of each run of rows with ink."""
    ink = (drawn != drawn[0, 0]).any(axis=(1, 2)).astype(int)
    return np.flatnonzero(np.diff(ink)).reshape(-1, 2)


@pytest.mark.parametrize("layers", [1, 3])
def test_panel_text_is_legible_at_350_pixels(layers):
    drawn = strip("HHH", layers=layers)
    ((top, bottom),) = rows_of_text(drawn)
    # The capitals of DejaVu Sans have 0.73 of its size; 15 pixels are asked for.
    assert (bottom - top) / 0.73 * 350 / drawn.shape[1] == pytest.approx(15.5, abs=1)


def test_panel_text_is_centered():
    drawn = strip("HHH")
    for axis, tolerance in (0, 5), (1, 1):
        ink = np.flatnonzero((drawn != drawn[0, 0]).any(axis=(1 - axis, 2)))
        middle = (ink[0] + ink[-1]) / 2
        assert middle == pytest.approx((drawn.shape[axis] - 1) / 2, abs=tolerance)


def test_panel_text_has_a_least_size():
    ((top, bottom),) = rows_of_text(strip("H", (28, 28), min_size=1))
    assert bottom - top >= 8


def test_panel_strip_is_no_higher_than_the_picture():
    assert len(strip("cat", (224, 2000))) == 224


@pytest.mark.parametrize(
    ("caption", "lines"), [("H" * 26, 1), ("H" * 32, 1), ("H" * 40, 2), ("H " * 99, 2)]
)
def test_panel_shrinks_before_it_breaks_a_line(caption, lines):
    runs = rows_of_text(strip(caption))
    assert len(runs) == lines
    height = runs[0][1] - runs[0][0]
    full = np.diff(rows_of_text(strip("H")))[0, 0]
    assert 0.75 * full <= height <= full
    assert (height == full) == (len(caption) == 26)


@pytest.mark.parametrize("room", [1, 30, 120, 400])
@pytest.mark.parametrize("text", [c for c in CAPTIONS.values() if c != 7], ids=repr)
def test_fit_loses_no_text_without_an_ellipsis(text, room):
    text = " ".join(text.split())
    lines, font = _fit(text, 30, room)
    assert len(lines) <= 2
    if "…" not in lines[-1]:
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    if room > font.getlength("WW…"):
        assert max(font.getlength(line) for line in lines) <= room


def test_fit_breaks_at_a_space():
    lines, _ = _fit("Golden retriever, Labrador retriever, kuvasz", 30, 400)
    assert lines == ["Golden retriever, Labrador", "retriever, kuvasz"]


def test_fit_fills_the_first_line():
    room = _font(24).getlength("a big red dog") + 0.5
    lines, _ = _fit("a big red dog asleep", 30, room)
    assert lines == ["a big red dog", "asleep"]


def test_fit_breaks_a_word_rather_than_leave_a_line_empty():
    lines, _ = _fit("a " + "very_long_token" * 20, 30, 400)
    assert lines[0].startswith("a very_long_token")


# show


def drawn(figure):
    """The pictures of a figure, as rows of columns."""
    pictures = [axes.get_images()[0].get_array() for axes in figure.axes]
    columns = figure.axes[0].get_gridspec().ncols
    return [pictures[i : i + columns] for i in range(0, len(pictures), columns)]


def test_show_of_one_image():
    image, heatmap = pixels(224, 20, 3), RNG.random((7, 7))
    ((first, second),) = drawn(show(image, heatmap))
    np.testing.assert_array_equal(first, image)
    np.testing.assert_array_equal(second, overlay(image, heatmap))


@pytest.mark.parametrize("layers", [1, 2])
def test_show_has_a_row_for_each_image_and_a_column_for_each_layer(layers):
    batch = pixels(3, 224, 20, 3)
    heatmaps = [RNG.random((3, 7, 7)) for _ in range(layers)]
    rows = drawn(show(batch, heatmaps))
    assert [len(row) for row in rows] == [1 + layers] * 3
    for index, row in enumerate(rows):
        np.testing.assert_array_equal(row[0], batch[index])
        for layer, picture in enumerate(row[1:]):
            expected = overlay(batch[index], heatmaps[layer][index])
            np.testing.assert_array_equal(picture, expected)


def test_show_passes_its_arguments_on():
    image = pixels(224, 3, 3)
    first = np.moveaxis(image, -1, 0) / 127.5 - 1
    heatmap = 2 * RNG.random((7, 7)) - 1
    figure = show(
        *(first, heatmap, None, 0.2, "coolwarm"),
        value_range=(-1, 1),
        data_format="channels_first",
    )
    expected = overlay(image, heatmap, 0.2, "coolwarm")
    np.testing.assert_array_equal(drawn(figure)[0][1], expected)


def titles(figure, loc):
    return [axes.get_title(loc) for axes in figure.axes]


def test_show_has_no_titles_by_default():
    figure = show(pixels(8, 8, 3), np.zeros((8, 8)))
    assert titles(figure, "left") + titles(figure, "center") == [""] * 4


def test_show_titles_of_one_array_are_the_rows():
    figure = show(pixels(2, 8, 8, 3), np.zeros((2, 8, 8)), ["cat", 7])
    assert titles(figure, "left") == ["cat", "", "7", ""]


def test_show_titles_of_a_list_are_the_layers():
    batch = pixels(2, 8, 8, 3)
    figure = show(batch, [np.zeros((2, 8, 8))] * 2, ["conv2", "conv5"])
    assert titles(figure, "center") == ["", "conv2", "conv5", "", "", ""]


@pytest.mark.parametrize("heatmaps", [np.zeros((8, 8)), [np.zeros((8, 8))]])
def test_show_takes_one_title(heatmaps):
    figure = show(pixels(8, 8, 3), heatmaps, "Grad-CAM")
    assert "Grad-CAM" in titles(figure, "left") + titles(figure, "center")


@pytest.mark.parametrize(
    ("heatmaps", "given", "expected"),
    [
        (np.zeros((2, 8, 8)), ["a", "b", "c"], 2),
        (np.zeros((2, 8, 8)), "ab", 2),
        ([np.zeros((2, 8, 8))], ["a", "b"], 1),
    ],
)
def test_show_counts_titles(heatmaps, given, expected):
    count = 1 if isinstance(given, str) else len(given)
    message = (
        "`titles` must name each layer if `heatmaps` is a list, and each image if it "
        f"is one array. Received: {count} titles, expected {expected}"
    )
    with pytest.raises(ValueError, match=message):
        show(pixels(2, 8, 8, 3), heatmaps, given)


@pytest.mark.parametrize("shape", [(224, 224), (100, 400)])
def test_show_has_room_for_titles(shape):
    batch = pixels(2, *shape, 3)
    figure = show(batch, np.zeros((2, 7, 7)), ["a title", "another title"])
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert max(box.y1 for box in boxes) <= figure.bbox.y1
    assert boxes[2].y1 <= boxes[0].y0
    # The titles take no room from the pictures, 3 inches wide with their margins.
    assert figure.axes[0].bbox.width / figure.dpi > 2.8


def test_show_leaves_pyplot_alone():
    show(PIXELS, HEATMAP)
    assert plt.get_fignums() == []


def test_show_appears_once_in_a_notebook():
    formatters = pytest.importorskip("IPython.core.formatters")
    data, _ = formatters.DisplayFormatter().format(show(PIXELS, HEATMAP))
    assert data["image/png"].startswith(b"\x89PNG")


def test_show_can_be_saved_and_pickled(tmp_path):
    figure = pickle.loads(pickle.dumps(show(PIXELS, HEATMAP)))
    figure.savefig(tmp_path / "x.png")
    assert load_image(tmp_path / "x.png").std() > 10


# All of them

DRAWERS = {
    "to_uint8": lambda image, heatmap: to_uint8(image),
    "colorize": lambda image, heatmap: colorize(heatmap),
    "overlay": overlay,
    "panel": panel,
    "show": show,
}


@pytest.mark.parametrize("draw", DRAWERS.values(), ids=DRAWERS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_arguments_are_not_changed(draw, dtype):
    image, heatmap = PIXELS.astype(dtype), HEATMAP.copy()
    heatmap[0, 0] = np.nan
    image.flags.writeable = heatmap.flags.writeable = False
    before = image.copy(), heatmap.copy()
    draw(image, heatmap)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(heatmap, before[1])


@pytest.mark.parametrize("name", ["overlay", "panel", "show"])
def test_faint_bytes_are_drawn_as_255ths(name):
    faint = np.eye(6, 8, dtype=np.uint8)
    pictures = [DRAWERS[name](PIXELS, h) for h in (faint, faint / np.float32(255))]
    np.testing.assert_array_equal(
        *(map(drawn, pictures) if name == "show" else pictures)
    )


def test_faint_bytes_are_drawn_in_a_batch_as_alone():
    faint, strong = np.eye(6, 8, dtype=np.uint8), np.full((6, 8), 200, np.uint8)
    batch = overlay(np.stack([PIXELS] * 2), np.stack([faint, strong]))
    np.testing.assert_array_equal(batch[0], overlay(PIXELS, faint))
    # 0.7 of one of 255 changes a pixel by 0.7 at most.
    assert np.abs(batch[0].astype(int) - PIXELS).max() <= 1


# Pictures of several.


def test_titles_are_above_their_heatmaps_and_none_is_above_the_image():
    plain = panel(PIXELS, [HEATMAP, HEATMAP], "caption", True)
    titled = panel(
        PIXELS, [HEATMAP, HEATMAP], "caption", True, titles=["first", "second"]
    )
    height = len(titled) - len(plain)
    np.testing.assert_array_equal(titled[height:], plain)
    strip = titled[:height]
    width = strip.shape[1] // 5
    assert (strip[:, :width] == 255).all()
    for part in (strip[:, width : 3 * width], strip[:, 3 * width :]):
        columns = np.flatnonzero((part < 128).any(axis=(0, 2)))
        assert len(columns)
        # In the middle of the two cells.
        assert abs((columns[0] + columns[-1]) / 2 - width) < 5
    with pytest.raises(ValueError, match="titles"):
        panel(PIXELS, [HEATMAP, HEATMAP], titles=["first"])


def test_the_outline_of_a_region_is_drawn_on_the_image_alone():
    region = np.zeros((6, 8))
    region[1:4, 2:7] = 5
    plain, outlined = (panel(PIXELS, HEATMAP, region=r) for r in (None, region))
    factor = len(plain) // 6
    width = max(1, len(plain) // 112)
    expected = np.zeros(plain.shape[:2], bool)
    expected[factor : 4 * factor, 2 * factor : 7 * factor] = True
    inner = slice(factor + width, 4 * factor - width)
    expected[inner, 2 * factor + width : 7 * factor - width] = False
    np.testing.assert_array_equal((plain != outlined).any(-1), expected)
    with pytest.raises(ValueError, match="`region` must have the size of the image"):
        panel(PIXELS, HEATMAP, region=region.T)


def test_a_region_that_reaches_the_edge_is_outlined_there():
    outlined = panel(PIXELS, HEATMAP, region=np.ones((6, 8)))
    color = OUTLINE_COLOR
    assert (outlined[0, : 8 * (len(outlined) // 6)] == color).all()
    assert (outlined[:, 0] == color).all()


@pytest.mark.parametrize(("columns", "rows"), [(None, 2), (1, 5), (3, 2), (9, 1)])
def test_a_grid_has_its_cells_in_reading_order(columns, rows):
    cells = [np.full((30, 20, 3), 10 * n, np.uint8) for n in range(5)]
    sheet = grid(cells, columns, margin=4)
    across = {None: 3, 1: 1, 3: 3, 9: 5}[columns]
    assert sheet.shape == (rows * 34 + 4, across * 24 + 4, 3)
    for number in range(5):
        row, column = divmod(number, across)
        top, left = 4 + row * 34, 4 + column * 24
        assert (sheet[top : top + 30, left : left + 20] == 10 * number).all()
    assert (sheet[:4] == 255).all() and (sheet[:, :4] == 255).all()


def test_a_heading_is_above_its_picture():
    picture = headed(PIXELS.repeat(40, 0).repeat(40, 1), "step 3")
    np.testing.assert_array_equal(picture[-240:], PIXELS.repeat(40, 0).repeat(40, 1))
    assert (picture[:-240] == STRIPS[None]).all(axis=-1).any()
    assert (picture[:-240] == 255).all(axis=-1).any()
