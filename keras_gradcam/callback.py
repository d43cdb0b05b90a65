"""`GradCAMCallback`: heatmaps in TensorBoard while a model trains."""

import inspect
import numbers
import os
import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_gradcam import images as pictures
from keras_gradcam import maps, panels
from keras_gradcam.answers import classes_of, probabilities
from keras_gradcam.diagnosis import EmptyMapWarning
from keras_gradcam.gradcam import GradCAM

# Arguments of `GradCAM` that the callback sets itself.
OWN_OPTIONS = {"self", "model", "return_predictions", "kwargs"}

# The longest side of a JPEG.
MAX_SIDE = 65535


class GradCAMCallback(keras.callbacks.Callback):
    """Shows after each epoch where the model looks, in TensorBoard's image panels.

    For each sample it writes one panel: the input, the heatmap, the heatmap laid over
    the input, and below it the true label, the predicted one and the model's confidence
    on green or red. All panels of an epoch are written as one image summary with the
    epoch as its step, into a run of its own, `log_dir/gradcam`, and are on disk when
    the epoch ends. The samples stay the same for the whole training.

    Training is not touched: weights, random numbers and metrics are bit for bit those
    of a training without the callback. The `tensorboard` package is needed to look at
    the panels, not to write them.

    Args:
        images: Array or tensor `(samples, height, width, channels)`, as the model takes
            it.
        y_true: The true labels: ints `(samples,)`, or one-hot `(samples, classes)`.
            Defaults to `None`, no true label is shown.
        layer: See `GradCAM`. A list shows one heatmap and overlay for each layer.
            Defaults to `None`.
        log_dir: Directory of TensorBoard's runs, the one that
            `keras.callbacks.TensorBoard` is given. Defaults to `"logs"`.
        freq: Write every `freq` epochs, the first one included; 0 never writes.
            Defaults to `1`.
        num_samples: How many of `images` are shown, from the first. Defaults to `8`.
        target: See `GradCAM`; of a sequence the first `num_samples` are used, `"true"`
            takes `y_true`. Defaults to `None`, the predicted class.
        label_map: Names of the classes, a list or a dict from class to name.
            Defaults to `None`, the numbers.
        value_range: The values of `images` that are black and white, such as `(-1, 1)`.
            Defaults to `None`: found out where that is safe.
        image_format: `"jpeg"` or `"png"`. PNG is lossless, takes 4 times the space and
            8 times the time. Defaults to `"jpeg"`.
        **options: Other arguments of `GradCAM`, but `return_predictions`.

    Raises:
        ValueError: If the arguments do not fit each other. What depends on the model
            (an unknown layer, images that it does not take) raises when training
            begins, before the first batch.

    Example:

    ```python
    model.fit(x, y, callbacks=[GradCAMCallback(x_val, y_val, log_dir="logs")])
    ```
    """

    def __init__(
        self,
        images,
        y_true=None,
        layer=None,
        log_dir="logs",
        freq=1,
        num_samples=8,
        target=None,
        label_map=None,
        value_range=None,
        image_format="jpeg",
        **options,
    ):
        super().__init__()
        _check_count("freq", freq, at_least=0)
        _check_count("num_samples", num_samples, at_least=1)
        if image_format not in _ENCODERS:
            raise ValueError(
                "Argument `image_format` must be 'jpeg' or 'png'. Received: "
                f"image_format={image_format!r}"
            )
        images = _as_images(images)
        _check_options(options)
        self.layer = layer
        self.log_dir = os.fspath(log_dir)
        self.freq = freq
        self.target = target
        self.label_map = label_map
        self.image_format = image_format
        self.options = {**options, "return_predictions": True}
        self._images = images[:num_samples]
        self._labels = classes_of(y_true, len(images))[:num_samples]
        self._pictures = pictures.to_uint8(self._images, value_range)
        self._names = [self._name(label) for label in self._labels]
        self._check_panel()
        # A map that keeps its sign needs a colour for "against".
        signed = options.get("activation", "relu") is None
        self._colormap = "coolwarm" if signed else "jet"
        self._cam = None
        self._writer = None
        self._runs = 0
        self._last_step = -1

    def on_train_begin(self, logs=None):
        if self._cam is None or self._cam.model is not self.model:
            self._cam = GradCAM(
                self.model, self.layer, target=self._targets(), **self.options
            )
        # A wrong configuration must not cost an epoch. No weights are read: they may
        # not have been restored yet.
        self._cam.trace(self._images)
        os.makedirs(self.log_dir, exist_ok=True)
        for label in range(self._cam.classes or 0):
            self._name(label)
        self._check_labels(self._cam.classes)

    def on_epoch_end(self, epoch, logs=None):
        strategy = tf.distribute.get_strategy()
        if (
            self.freq
            and epoch % self.freq == 0
            and strategy.extended.should_save_summary
        ):
            self._log(epoch)

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _log(self, step):
        with warnings.catch_warnings():
            # No news in training, and the panel shows it.
            warnings.simplefilter("ignore", EmptyMapWarning)
            result = self._cam(self._images)
        # One list of maps for each sample, as drawn: raw values are scaled to 1.
        layers = [
            np.asarray(maps.normalize_max(heatmaps))
            for layer in tree.flatten(result["heatmaps"])
            for heatmaps in _one_per_score(layer)
        ]
        captions = self._captions(result["predictions"])
        samples = zip(self._pictures, zip(*layers, strict=True), captions, strict=True)
        drawn = [
            panels.panel(picture, heatmaps, *caption, colormap=self._colormap)
            for picture, heatmaps, caption in samples
        ]
        self._write(drawn, step)

    def _write(self, drawn, step):
        encode = _ENCODERS[self.image_format]
        height, width, _ = drawn[0].shape
        encoded = [encode(panel) for panel in drawn]
        # No writer and no recording condition of anybody else's: `update_freq` of
        # `keras.callbacks.TensorBoard` leaves one open that drops most epochs. Leaving
        # the writer's context puts the epoch on disk.
        with self._open(step).as_default(), tf.summary.record_if(True):
            tf.summary.write(
                self._tag(),
                tf.stack([str(width), str(height), *encoded]),
                step=step,
                metadata=self._metadata(),
            )

    def _open(self, step):
        """The event writer; a new run where the steps start over."""
        if self._writer is not None and step <= self._last_step:
            self._writer.close()
            self._writer = None
        if self._writer is None:
            if step <= self._last_step or not self._runs:
                self._runs += 1
            suffix = f"-{self._runs}" if self._runs > 1 else ""
            path = os.path.join(self.log_dir, f"gradcam{suffix}")
            self._writer = tf.summary.create_file_writer(path)
        self._last_step = step
        return self._writer

    def _tag(self):
        layer = self._cam.layer
        return "gradcam/" + (", ".join(layer) if isinstance(layer, list) else layer)

    def _metadata(self):
        # Written by hand: `tf.summary.image` needs the tensorboard package, which
        # TensorFlow no longer brings.
        metadata = tf.compat.v1.SummaryMetadata(summary_description=self._description())
        metadata.plugin_data.plugin_name = "images"
        return metadata

    def _description(self):
        target = "the predicted class" if self.target is None else f"`{self.target}`"
        return (
            f"Method `{self._cam.method}`, target {target}. From left to right: the "
            "input, then for each layer its heatmap and the heatmap over the input. "
            "TensorBoard shows 10 of the epochs; start it with `--samples_per_plugin "
            "images=1000` for all of them."
        )

    def _targets(self):
        """The target for the samples that are shown."""
        if isinstance(self.target, str) and self.target == "true":
            return [label for label in self._labels if label is not None]
        if callable(self.target) or np.ndim(self.target) == 0:
            return self.target
        return np.asarray(self.target)[: len(self._images)]

    def _captions(self, predictions):
        """A `(caption, correct)` for each sample."""
        rows = [None] * len(self._images)
        if isinstance(predictions, tf.Tensor) and predictions.shape.rank == 2:
            outputs = np.asarray(predictions, "float32")
            rows = probabilities(outputs, self.model.loss, self._cam.classes)
        return [
            self._caption(label, name, row)
            for label, name, row in zip(self._labels, self._names, rows, strict=True)
        ]

    def _caption(self, label, name, row):
        true = [] if label is None else [f"true {name}"]
        if row is None:
            return ", ".join(true) or None, None
        best = int(np.argmax(row))
        predicted = f"predicted {self._name(best)} ({row[best]:.0%})"
        correct = None if label is None else best == label
        return ", ".join([*true, predicted]), correct

    def _check_panel(self):
        empty = np.zeros(self._pictures.shape[1:3])
        shape = panels.panel(self._pictures[0], empty).shape
        if max(shape) > MAX_SIDE:
            raise ValueError(
                "Argument `images` has a form that makes panels of "
                f"{shape[1]} x {shape[0]} pixels, more than {MAX_SIDE}. Received: "
                f"images of shape {self._images.shape}"
            )

    def _check_labels(self, classes):
        given = [label for label in self._labels if label is not None]
        if given and classes and classes > 1 and max(given) >= classes:
            raise ValueError(
                f"Argument `y_true` has class {max(given)}, but the model has "
                f"{classes} classes, from 0."
            )

    def _name(self, label):
        if self.label_map is None or label is None:
            return str(label)
        try:
            return str(self.label_map[label])
        except (KeyError, IndexError):
            raise ValueError(
                f"Argument `label_map` has no name for class {label}. Received: "
                f"label_map={self.label_map}"
            ) from None


def _check_count(name, value, at_least):
    integral = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not integral or value < at_least:
        raise ValueError(
            f"Argument `{name}` must be an int of at least {at_least}. Received: "
            f"{name}={value!r}"
        )


def _one_per_score(heatmaps):
    """A target with several scores has as many maps for each sample."""
    return [heatmaps] if heatmaps.ndim == 3 else list(np.moveaxis(heatmaps, 1, 0))


def _as_images(images):
    array = np.asarray(images)
    if array.ndim != 4 or not len(array):
        raise ValueError(
            "Argument `images` must be an array `(samples, height, width, channels)`. "
            f"Received: {type(images).__name__}, an array of shape {array.shape}"
        )
    return array


def _check_options(options):
    known = inspect.signature(GradCAM.__init__).parameters.keys()
    unknown = options.keys() - known | options.keys() & OWN_OPTIONS
    if unknown:
        raise TypeError(
            "`GradCAMCallback` takes the arguments of `GradCAM` besides its own. "
            f"Received unknown arguments: {sorted(unknown)}"
        )


def _encode_jpeg(panel):
    # Full colour resolution: the strip's text would fray without it.
    return tf.io.encode_jpeg(panel, quality=92, chroma_downsampling=False)


def _encode_png(panel):
    return tf.io.encode_png(panel, compression=1)


_ENCODERS = {"jpeg": _encode_jpeg, "png": _encode_png}
