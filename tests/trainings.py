"""A small training, and what a callback wrote of it."""

import io

import keras
import numpy as np
import PIL.Image
import tensorflow as tf
from conftest import L


def make_data(count=40):
    rng = np.random.default_rng(0)
    images = rng.random((count, 16, 12, 3)).astype("float32")
    return images, np.arange(count) % 4


def make_trainable(**options):
    """A model with all that draws random numbers or keeps statistics."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16, 12, 3)),
            L.RandomFlip(),
            L.Conv2D(4, 3, activation="relu", name="first"),
            L.BatchNormalization(),
            L.Dropout(0.3),
            L.Conv2D(6, 3, activation="relu", name="last"),
            L.GlobalAveragePooling2D(),
            L.Dense(4, activation="softmax"),
        ]
    )
    options = {"optimizer": "adam", "metrics": ["accuracy"], **options}
    model.compile(loss="sparse_categorical_crossentropy", **options)
    return model


def fit(model, data, callbacks, epochs=3, **options):
    return model.fit(*data, epochs=epochs, verbose=0, callbacks=callbacks, **options)


def written(log_dir, plugin="images"):
    """What the event files below `log_dir` say: run -> tag -> step -> value.

    Of images the list of strings `[width, height, image0, ...]`, of scalars a float.
    """
    runs = {}
    for path in sorted(log_dir.rglob("*tfevents*")):
        for event in _events(path):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == plugin:
                    content = tf.make_ndarray(value.tensor)
                    steps = runs.setdefault(path.parent.name, {})
                    steps = steps.setdefault(value.tag, {})
                    assert event.step not in steps
                    steps[event.step] = content if content.ndim else float(content)
    return runs


def _events(path):
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield tf.compat.v1.Event.FromString(record.numpy())
    except tf.errors.DataLossError:
        pass  # A disk was full.


def steps_of(log_dir, run="gradcam", tag="gradcam/last", plugin="images"):
    return list(written(log_dir, plugin)[run][tag])


def pictures_of(strings):
    """The pictures in the strings of an image summary."""
    width, height, *encoded = strings
    found = [np.asarray(PIL.Image.open(io.BytesIO(data))) for data in encoded]
    assert all(x.shape == (int(height), int(width), 3) for x in found)
    return found


class Keeps:
    """A sink that remembers what it was given."""

    def __init__(self):
        self.panels = {}
        self.scalars = {}
        self.closed = 0

    def __call__(self, step, panels, scalars):
        if panels:
            self.panels[step] = panels
        self.scalars.setdefault(step, {}).update(scalars)

    def close(self):
        self.closed += 1
