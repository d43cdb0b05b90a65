"""Grad-CAM on Apache Beam: heatmaps of as many image files as a cluster can read."""

import io
import operator
import os
import shutil
import tempfile
import threading
import time

import keras
import numpy as np
from keras import tree

from keras_gradcam.jobs import explanations, image_sources
from keras_gradcam.jobs.explainer import Explainer
from keras_gradcam.jobs.explanations import Failure
from keras_gradcam.pictures import load_image

try:
    import apache_beam as beam
    from apache_beam.io.fileio import ReadableFile
    from apache_beam.io.filesystem import FileMetadata
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.metrics import Metrics
    from apache_beam.ml.inference.base import (
        ModelHandler,
        PredictionResult,
        RunInference,
    )
except ImportError as error:
    raise ImportError(
        "`keras_gradcam.beam` needs Apache Beam. Install it with "
        f"`pip install keras_gradcam[beam]`. ({error})"
    ) from error

NAMESPACE = "keras_gradcam"

EXPLAINED = Metrics.counter(NAMESPACE, "explained")

FAILED = Metrics.counter(NAMESPACE, "failed")

READ_MILLISECONDS = Metrics.distribution(NAMESPACE, "read_milliseconds")

EXPLAIN_MILLISECONDS = Metrics.distribution(NAMESPACE, "explain_milliseconds")

# What `load` and `label` raise when they are wrong, whatever the file.
MISTAKES = (AttributeError, ImportError, NameError, NotImplementedError, TypeError)


class GradCAMModelHandler(ModelHandler):
    """Explains arrays with Beam's `RunInference`.

    Each worker process loads the model once. Its threads explain one batch after the
    other, as each batch takes the whole device.

    An image that cannot be explained, as it has another shape or holds NaN, becomes a
    `Failure`, and does not keep the others of its batch from their explanations. What
    is wrong with the model or the settings raises, and fails the pipeline.

    Metrics, in the namespace `"keras_gradcam"`: the counters `explained` and `failed`,
    in images; the distribution `explain_milliseconds`, of batches; and those of
    `RunInference` itself.

    Args:
        cam: Where a worker gets its `GradCAM` from: the path of a saved one, on any
            file system that Beam reads, such as `"gs://bucket/cam.keras"`; or a
            callable without arguments that returns one, for models that
            `keras.saving.load_model` cannot load alone. It makes one map of an image.
        batch_size: Integer, how many images run at once; the last batch of a bundle may
            have fewer. Defaults to `32`.
        labels: Whether each example is a pair `(image, label)`, for a `GradCAM` with
            `target="true"`. Defaults to `False`.
        min_batch_size: Integer, the fewest images that run at once where Beam is to
            find the fastest size, up to `batch_size`, by timing. Defaults to `None`,
            batches of one size.
        max_batch_duration_secs: Number of seconds that a batch waits for more images
            across bundles, which streams need. Defaults to `None`, no longer than a
            bundle.
        large_model: Whether the processes of a machine share one model instead of
            having one each: slower, as images go from process to process, and where
            memory lacks the only way. Defaults to `False`.
        model_copies: Integer, how many models the processes of a machine share.
            Defaults to `None`, see `large_model`.
        env_vars: Dict of environment variables that are set before the model is loaded.
            Defaults to `None`.

    Input:
        Arrays, or structures of arrays, as the model takes them, without a batch axis:
        `(*spatial, channels)`.

    Returns:
        A `PredictionResult` of each, whose `inference` is an
        `explanations.Explanation`, with `heatmap`, `class_index` and `score`, or an
        `explanations.Failure`, with `error`.

    Raises:
        TypeError: If `cam` is neither a path nor a callable.
        ValueError: If `cam` is the path of another kind of file, or a batch size is no
            positive integer.

    Example:

    ```python
    GradCAM(model).save("cam.keras")
    results = arrays | RunInference(GradCAMModelHandler("cam.keras"))
    results | beam.Map(lambda result: result.inference.heatmap)
    ```
    """

    def __init__(
        self,
        cam,
        batch_size=32,
        labels=False,
        *,
        min_batch_size=None,
        max_batch_duration_secs=None,
        large_model=False,
        model_copies=None,
        env_vars=None,
    ):
        batch_size = _size("batch_size", batch_size)
        if min_batch_size is None:
            min_batch_size = batch_size
        super().__init__(
            min_batch_size=_size("min_batch_size", min_batch_size, batch_size),
            max_batch_size=batch_size,
            max_batch_duration_secs=max_batch_duration_secs,
            large_model=large_model,
            model_copies=model_copies,
            env_vars=env_vars or {},
        )
        self._cam = _source(cam)
        self._labels = labels

    def load_model(self):
        return _Explainer(self._cam() if callable(self._cam) else _loaded(self._cam))

    def run_inference(self, batch, model, inference_args=None):
        start = time.perf_counter()
        images, labels = zip(*batch, strict=True) if self._labels else (batch, None)
        made = model(list(images), labels and list(labels))
        EXPLAIN_MILLISECONDS.update(_milliseconds_since(start))
        failed = sum(map(_is_failure, made))
        EXPLAINED.inc(len(made) - failed)
        FAILED.inc(failed)
        return self._results(batch, made)

    def _results(self, examples, made):
        path = None if callable(self._cam) else self._cam
        pairs = zip(examples, made, strict=True)
        return [PredictionResult(example, one, path) for example, one in pairs]

    def get_num_bytes(self, batch):
        return sum(np.asarray(x).nbytes for x in tree.flatten(list(batch)))

    def get_metrics_namespace(self):
        return NAMESPACE

    def validate_inference_args(self, inference_args):
        if inference_args:
            raise ValueError(
                "`inference_args` are not taken: the target and all other options are "
                f"those of the `GradCAM`. Received: inference_args={inference_args}"
            )

    def update_model_path(self, model_path=None):
        self._cam = model_path or self._cam


@beam.typehints.with_input_types(str | os.PathLike | ReadableFile | FileMetadata)
class ExplainImages(beam.PTransform):
    """Explains image files: their names go in, heatmaps come out.

    What a bad file leads to, one that is missing, no picture, or of another shape, goes
    to the output `failures`. What is wrong with the model, the settings or `load`
    itself fails the pipeline: an error of the types `MISTAKES` in `load` or `label` is
    taken for one of these, any other for one of the file.

    Metrics, in the namespace `"keras_gradcam"`: those of `GradCAMModelHandler`, and the
    distribution `read_milliseconds`, of batches.

    Args:
        cam: See `GradCAMModelHandler`.
        load: Callable from a binary file, in memory and with the attribute `name`, to
            an image as the model takes it, without a batch axis. Defaults to `None`:
            `load_image` at the size of the model's input, `uint8` of shape
            `(height, width, 3)`, for a model that preprocesses its input itself.
        label: Callable from the name of a file to its class, an int, for a `GradCAM`
            with `target="true"`. Defaults to `None`.
        **options: Other arguments of `GradCAMModelHandler`, such as `batch_size`.

    Input:
        Names of files as strings or path objects, or what `beam.io.fileio.MatchFiles`
        and `ReadMatches` return.

    Returns:
        Two outputs, `explanations` and `failures`, to be unpacked or taken by name. An
        explanation is a dict with `"file"`, a string; `"heatmap"`, an array
        `(*spatial)`; `"class"`, an int, -1 where the target is no class; and `"score"`,
        a float, the score of this target. A failure is a dict with `"file"` and
        `"error"`, both strings of one line.

    Raises:
        TypeError: As for `GradCAMModelHandler`, or if `load` or `label` is no callable.
        ValueError: As for `GradCAMModelHandler`.

    Example:

    ```python
    explanations, failures = (
        pipeline
        | beam.io.fileio.MatchFiles("gs://bucket/*.jpg")
        | beam.Reshuffle()
        | ExplainImages("gs://bucket/cam.keras")
    )
    ```
    """

    def __init__(self, cam, load=None, label=None, **options):
        super().__init__()
        for name, value in {"load": load, "label": label}.items():
            if value is not None and not callable(value):
                raise TypeError(
                    f"Argument `{name}` must be a callable or None. Received: "
                    f"{name}={value!r} of type {type(value).__name__}"
                )
        self._handler = _FilesHandler(cam, load, label, **options)

    def expand(self, pcoll):
        split = beam.ParDo(_split).with_outputs("failures", main="explanations")
        return pcoll | "Explain" >> RunInference(self._handler) | "Split" >> split


class _FilesHandler(GradCAMModelHandler):
    """Explains files: whose model is loaded knows at which size to read them."""

    def __init__(self, cam, load, label, **options):
        super().__init__(cam, labels=label is not None, **options)
        self._load = load
        self._label = label
        # What reads pictures here is tested, and odd files lead to odd errors.
        self._mistakes = MISTAKES if load or label else ImportError

    def run_inference(self, batch, model, inference_args=None):
        start = time.perf_counter()
        load = self._load or _loader(model.picture_size())
        made = [self._example(file, load) for file in batch]
        READ_MILLISECONDS.update(_milliseconds_since(start))
        sound = [n for n, one in enumerate(made) if not _is_failure(one)]
        FAILED.inc(len(made) - len(sound))
        if sound:
            results = super().run_inference([made[n] for n in sound], model)
            for n, result in zip(sound, results, strict=True):
                made[n] = result.inference
        return self._results(map(_name, batch), made)

    def _example(self, file, load):
        name = _name(file)
        # Raises where Beam has no such file system, which concerns no single file.
        FileSystems.get_filesystem(name)
        try:
            image = load(_Content(file))
            return (image, self._label(name)) if self._labels else image
        except self._mistakes:
            raise
        except Exception as error:
            return Failure(explanations.in_one_line(error))

    def get_num_bytes(self, batch):
        return sum(len(_name(file).encode()) for file in batch)


class _Explainer:
    """The model of a worker, for all its threads."""

    def __init__(self, cam):
        self._explain = Explainer(cam)
        self._model = cam.model
        # While a graph is traced the layers of the model are tapped.
        self._lock = threading.Lock()

    def __call__(self, images, labels=None):
        with self._lock:
            return self._explain(images, labels)

    # A method, as processes that share a model reach nothing else of it.
    def picture_size(self):
        return image_sources.picture_size(self._model)


class _Content(io.BytesIO):
    """What a file holds: cloud storage is read once, from its start to its end."""

    def __init__(self, file):
        self.name = _name(file)
        is_open = isinstance(file, ReadableFile)
        with file.open() if is_open else FileSystems.open(self.name) as stream:
            super().__init__(stream.read())

    def __repr__(self):
        # In the error of whoever cannot read it.
        return self.name


def _source(cam):
    """Returns where workers get their `GradCAM` from; raises if it is nowhere."""
    if isinstance(cam, keras.Model) or not (
        callable(cam) or isinstance(cam, (str, os.PathLike))
    ):
        raise TypeError(
            "Argument `cam` must be the path of a saved `GradCAM`, or a callable "
            "without arguments that returns one, as each worker loads its own model. "
            "Save it with `cam.save('cam.keras')` and pass the path. Received: "
            f"cam={cam!r} of type {type(cam).__name__}"
        )
    if callable(cam):
        return cam
    if not os.fspath(cam).endswith(".keras"):
        raise ValueError(
            "Argument `cam` must be the path of a file that `GradCAM(model).save("
            f"'cam.keras')` has written. Received: cam={os.fspath(cam)!r}"
        )
    return os.fspath(cam)


def _size(name, value, most=None):
    try:
        size = operator.index(value)
    except TypeError:
        size = 0
    if size < 1 or (most is not None and size > most):
        limit = "" if most is None else f" and at most `batch_size`, {most}"
        raise ValueError(
            f"Argument `{name}` must be an integer of at least 1{limit}. "
            f"Received: {name}={value!r}"
        )
    return size


def _loaded(path):
    """A saved `GradCAM`, from wherever Beam reads files."""
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, os.path.basename(path))
        with FileSystems.open(path) as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target)
        return keras.saving.load_model(copy)


def _loader(size):
    return lambda file: load_image(file, size)


def _name(file):
    if isinstance(file, ReadableFile):
        file = file.metadata
    return file.path if isinstance(file, FileMetadata) else os.fspath(file)


def _is_failure(value):
    return isinstance(value, Failure)


def _milliseconds_since(start):
    return round(1000 * (time.perf_counter() - start))


def _split(result):
    """One row of one of the two outputs."""
    file, made = result.example, result.inference
    if _is_failure(made):
        yield beam.pvalue.TaggedOutput("failures", {"file": file, "error": made.error})
        return
    yield {
        "file": file,
        "heatmap": made.heatmap,
        "class": -1 if made.class_index is None else made.class_index,
        "score": np.asarray(made.score).tolist(),
    }
