"""What the demo learns: handwritten digits in scenes, or a folder of pictures."""

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_gradcam.demo.digit_scenes import make_scenes

PICTURE_SIZE = 128

PICTURE_FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")

BATCH = 64

WATCHED = 32


class Task(NamedTuple):
    """What is learned: two datasets, and validation samples to watch.

    `train` and `validation` give batches of images and integer labels. `images` are
    `(samples, height, width, channels)`, `labels` `(samples,)`, and `boxes`, where they
    are known, `(samples, 4)`. All images are uint8.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    class_names: list
    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray | None = None


def digits_task(count=8000, seed=0):
    """Handwritten digits in cluttered scenes, with the box of each digit.

    Args:
        count: Integer. The number of training scenes. Defaults to `8000`.
        seed: Integer, of the scenes. Defaults to `0`.

    Returns:
        A `Task`.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    train = make_scenes(count, seed)[:2]
    images, labels, boxes = make_scenes(max(100, count // 16), seed, "validation")
    slices = tf.data.Dataset.from_tensor_slices
    return Task(
        batches(slices(train), BATCH, seed),
        batches(slices((images, labels)), BATCH),
        [str(digit) for digit in range(10)],
        images,
        labels,
        boxes,
    )


def folder_task(directory, seed=0):
    """A folder of pictures, with a sub-folder for each class.

    Every fifth picture or so is kept for validation.

    Args:
        directory: String or path object. Pictures are BMP, GIF, JPEG or PNG, gray or in
            color, of any size.
        seed: Integer, of the split and the order. Defaults to `0`.

    Returns:
        A `Task` without boxes.

    Raises:
        ValueError: If the folder is missing, or does not hold at least two classes with
            pictures.
    """
    _check_folder(Path(directory))
    train, validation = keras.utils.image_dataset_from_directory(
        directory,
        batch_size=None,
        image_size=(PICTURE_SIZE, PICTURE_SIZE),
        seed=seed,
        validation_split=0.2,
        subset="both",
        verbose=False,
    )
    class_names = train.class_names
    # Decoded once, and a quarter of the memory that floats would take.
    train, validation = (part.map(_round).cache() for part in (train, validation))
    watched = list(validation.take(WATCHED).as_numpy_iterator())
    images, labels = (np.stack(part) for part in zip(*watched, strict=True))
    return Task(
        batches(train, BATCH // 4, seed),
        batches(validation, BATCH),
        class_names,
        images,
        labels,
    )


def _round(image, label):
    return tf.cast(tf.round(image), "uint8"), label


def batches(dataset, size, seed=None):
    """Batches, in a new order in each epoch if there is a seed."""
    if seed is not None:
        dataset = dataset.shuffle(len(dataset), seed)
    return dataset.batch(size).prefetch(tf.data.AUTOTUNE)


def _check_folder(directory):
    if not directory.is_dir():
        raise ValueError(f"there is no folder '{directory}'")
    folders = [path for path in directory.iterdir() if path.is_dir()]
    folders = sorted(path for path in folders if not path.name.startswith("."))
    if len(folders) < 2:
        found = ", ".join(path.name for path in folders) or "none"
        raise ValueError(
            "a sub-folder of pictures for each of two or more classes is needed; "
            f"'{directory}' has: {found}"
        )
    pictures = [
        sum(path.suffix.lower() in PICTURE_FORMATS for path in folder.rglob("*"))
        for folder in folders
    ]
    if 0 in pictures:
        raise ValueError(
            f"there is no picture ({', '.join(PICTURE_FORMATS)}) in "
            f"'{folders[pictures.index(0)]}'"
        )
    if sum(pictures) < 10:
        raise ValueError(
            f"at least 10 pictures are needed; '{directory}' has {sum(pictures)}"
        )
