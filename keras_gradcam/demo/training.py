"""The demo: a small network learns, and its heatmaps move onto what it learns."""

import importlib.util
import sys
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_gradcam.data import choose
from keras_gradcam.demo import pictures
from keras_gradcam.gradcam import GradCAM
from keras_gradcam.metrics import pointing_accuracy
from keras_gradcam.training import GradCAMCallback

FILTERS = (16, 32, 48, 48, 64)

GRID = 16

PANELS = 8

ALL_PANELS = "--samples_per_plugin images=1000"


def build_network(shape, classes):
    """Builds a small convolutional network whose last grid is 9x9 to 16x16.

    Args:
        shape: Tuple of integers `(height, width, channels)` of the images, whose values
            are in [0, 255].
        classes: Integer. The number of classes.

    Returns:
        A `keras.Model` from images to probabilities `(batch, classes)`.
    """
    inputs = keras.Input(shape, name="images")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(inputs)
    for number, filters in enumerate(FILTERS, start=1):
        # Fine enough to point with, coarse enough to train in a minute.
        kernel, strides = (5, 2) if x.shape[1] > GRID else (3, 1)
        name = f"conv{number}"
        x = keras.layers.Conv2D(
            filters, kernel, strides, padding="same", use_bias=False, name=name
        )(x)
        # Statistics of the last batches: older ones belong to other weights.
        x = keras.layers.BatchNormalization(momentum=0.5, name=f"{name}_norm")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.2, name="dropout")(x)
    outputs = keras.layers.Dense(classes, activation="softmax", name="class")(x)
    return keras.Model(inputs, outputs, name="demo")


def run(task, out, epochs=6, seed=0):
    """Trains on a task, and pictures after each epoch where the network looks.

    Writes `epoch_00.png` and so on, `contact_sheet.png` and, for TensorBoard, `logs`.
    Prints a line for each epoch, and at the end how to open TensorBoard.

    Args:
        task: A `Task`.
        out: String or path object, the directory to write into. It is made if missing.
        epochs: Integer. Defaults to `6`.
        seed: Integer, of weights and dropout. Defaults to `0`.

    Returns:
        The trained `keras.Model`.
    """
    keras.utils.set_random_seed(seed)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    model = build_network(task.images.shape[1:], len(task.class_names))
    model.compile(
        keras.optimizers.Adam(_one_cycle(epochs * len(task.train))),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    print(f"Training: {epochs} x {len(task.train)} batches", flush=True)
    start = time.monotonic()
    model.fit(
        task.train,
        validation_data=task.validation,
        epochs=epochs,
        # The dataset does that, and Keras warns of its own default.
        shuffle=False,
        verbose=0,
        callbacks=[TrainingPictures(task, out), *_tensorboard(task, out / "logs")],
    )
    print(f"Trained and watched in {time.monotonic() - start:.0f} s.")
    _print_results(out)
    return model


def _one_cycle(steps):
    """A learning rate that rises for a fifth of the steps and falls to zero."""
    rise = max(1, steps // 5)
    return keras.optimizers.schedules.CosineDecay(
        4e-4, decay_steps=max(1, steps - rise), warmup_target=4e-3, warmup_steps=rise
    )


def _tensorboard(task, log_dir):
    # Unlike ours, Keras' own callback needs the package to write its curves. It comes
    # first, or it would write ours a second time.
    if importlib.util.find_spec("tensorboard"):
        yield keras.callbacks.TensorBoard(log_dir, write_graph=False)
    yield GradCAMCallback(
        task.images,
        task.labels,
        log_dir=log_dir,
        num_samples=PANELS,
        samples="stratified",
        label_map=task.class_names,
        boxes=task.boxes,
    )


def _print_results(out):
    print(f"Pictures: {out / 'contact_sheet.png'}, {out / 'epoch_00.png'} and so on")
    if not importlib.util.find_spec("tensorboard"):
        print("TensorBoard shows the same panels: pip install tensorboard")
    print(f"{_tensorboard_command()} --logdir {out / 'logs'} {ALL_PANELS}")


def _tensorboard_command():
    """TensorBoard of the environment that runs this, which may not be on the path."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{python} -m tensorboard.main"


class Snapshot(NamedTuple):
    """Where the network looks at the shown samples, at one time of the training."""

    heading: str
    score: str
    heatmaps: np.ndarray
    guesses: list
    correct: np.ndarray


class TrainingPictures(keras.callbacks.Callback):
    """Pictures where the network looks before the training and after each epoch.

    Args:
        task: A `Task`.
        out: Path object, the directory of the pictures.
    """

    def __init__(self, task, out):
        super().__init__()
        chosen = choose(task.images, task.labels, PANELS, "stratified")
        shown = [sample.number for sample in chosen]
        self.task = task
        self.out = out
        self.shown = shown
        self.images = task.images[shown]
        self.names = [task.class_names[label] for label in task.labels[shown]]
        self.snapshots = []

    def on_train_begin(self, logs=None):
        self.cam = GradCAM(self.model, return_predictions=True)
        if self.task.boxes is not None:
            share = _covered(self.task.boxes, self.task.images)
            print(f"Pointing at random, a map would hit {share:.1%} of the boxes.")
        self._take("untrained", [])

    def on_epoch_end(self, epoch, logs=None):
        accuracies = [
            f"accuracy {logs['accuracy']:.1%}",
            f"validation {logs['val_accuracy']:.1%}",
        ]
        self._take(f"{epoch + 1} epoch{'s' * (epoch > 0)}", accuracies)
        pictures.of_epoch(self).save(self.out / f"epoch_{epoch:02d}.png")

    def on_train_end(self, logs=None):
        pictures.of_training(self).save(self.out / "contact_sheet.png")

    def _take(self, heading, scores):
        result = self.cam.predict(self.task.images, verbose=0)
        if self.task.boxes is not None:
            pointing = pointing_accuracy(result["heatmaps"], self.task.boxes)
            scores = [*scores, f"peak in box {pointing:.1%}"]
        print(f"{heading:10}", ", ".join(scores), flush=True)
        probabilities = result["predictions"][self.shown]
        best = probabilities.argmax(axis=1)
        self.snapshots.append(
            Snapshot(
                heading,
                scores[-1] if scores else "",
                result["heatmaps"][self.shown],
                [
                    f"{self.task.class_names[label]} ({row[label]:.0%})"
                    for label, row in zip(best, probabilities, strict=True)
                ],
                best == self.task.labels[self.shown],
            )
        )


def _covered(boxes, images):
    """The mean share of an image that its box covers."""
    height, width = images.shape[1:3]
    top, left, bottom, right = boxes.T
    return np.mean((bottom - top) * (right - left)) / (height * width)
