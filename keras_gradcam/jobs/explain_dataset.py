"""`explain_dataset`: heatmaps of any number of images, written to disk."""

import itertools

import numpy as np

from keras_gradcam.jobs import fingerprints, image_sources, shards
from keras_gradcam.jobs.explainer import Explainer
from keras_gradcam.jobs.explanations import Failure
from keras_gradcam.jobs.progress import Progress, Share
from keras_gradcam.jobs.shards import Folder, Row

# What of a `GradCAM` decides what its maps are.
SETTINGS = (
    "method",
    "target",
    "activation",
    "normalize",
    "resize",
    "reshape",
    "smooth",
    "fuse",
    "chunk_size",
    "logits",
    "output_dtype",
)


def explain_dataset(
    cam,
    dataset,
    out_dir,
    *,
    load=None,
    files=None,
    format="tfrecord",
    batch_size=32,
    shard_size=1024,
    worker=0,
    num_workers=1,
    max_failures=100,
    retry_failed=False,
    verbose=1,
):
    """Writes the heatmaps of any number of images to disk, in constant memory.

    The job can be stopped or killed at any time: called again with the same arguments
    it goes on, and writes the same bytes that it would have written otherwise. An image
    that cannot be read or explained is recorded in the index with the reason.

    The size and the type of the heatmaps are those of `cam`: `GradCAM(model,
    resize=False, output_dtype="uint8")` writes 49 bytes for an image where the layer
    has 7x7 cells. Under a `tf.distribute.Strategy`, in whose scope `cam` was made, each
    batch is shared by all its devices.

    Args:
        cam: A `GradCAM` that makes one map of an image.
        dataset: A `tf.data.Dataset` of images, `(images, labels)` or `(images, labels,
            weights)`, in batches or, so that one broken image costs no other, without;
            if the last is a string, it is the name of the file. It must bring the same
            images in the same order each time. Or a list of files, which `load` reads
            in parallel: nothing that is done is read again then.
        out_dir: String or path object, where to write; also what `tf.io.gfile` writes
            to, such as `"gs://bucket/maps"`. Made if missing.
        load: Callable from the name of a file to what the model takes, without a batch
            axis, or to a tuple `(image, label)`. Runs in several threads. Defaults to
            `None`: `load_image` at the size of the model's input, pixels in [0, 255].
        files: List of strings, the names of the images of a `tf.data.Dataset`. Defaults
            to `None`.
        format: `"tfrecord"` or `"npy"`, see below. Defaults to `"tfrecord"`.
        batch_size: Int, how many images run through the model at once, whatever the
            batches of the dataset are. Defaults to `32`.
        shard_size: Int, how many images a shard is for. What is done of a shard is lost
            by a kill. Best a multiple of `batch_size`. Defaults to `1024`.
        worker: Int, the number of this process, if several share the job, from 0 to
            `num_workers - 1`. Image i belongs to worker `i // shard_size %
            num_workers`. Defaults to `0`.
        num_workers: Int, how many processes share the job: all call this function with
            the same arguments besides `worker`. What they write together is what one
            would have written. Defaults to `1`.
        max_failures: Int, how many images in a row may fail: then the job stops with an
            error, and these images will be tried again by the next call. `None` for any
            number. Defaults to `100`.
        retry_failed: Whether to write those shards anew that have images which failed.
            Defaults to `False`.
        verbose: 1 shows a progress bar with the rate and the time left, 0 does not.
            Defaults to `1`.

    Returns:
        A `Summary` of this call: the numbers of images that were `explained` and
        `failed`.

    Raises:
        TypeError: If `cam` is no `GradCAM`, or `dataset` neither a dataset nor files.
        ValueError: If arguments do not go together, or `out_dir` holds a job of other
            settings, files or weights.
        RuntimeError: If `max_failures` images in a row cannot be explained, or none at
            all, or `dataset` ends before its end.

    The files are, for each shard, an index `shard-00000.csv` with the columns
    `position`, `file`, `class`, `score` and `error`, and the heatmaps of those rows
    that have no error: an array `(rows, *spatial)` in `shard-00000.npy`, or
    `shard-00000.tfrecord` with a `tf.train.Example` for each, that has `heatmap` (raw
    bytes, little-endian), `shape`, `class` (-1 for none), `score`, `file` and
    `position`. The settings are in `job.json`, their `dtype` among them;
    `finished.json` is written last.

    Example:

    ```python
    cam = GradCAM(model, resize=False, output_dtype="uint8")
    explain_dataset(cam, sorted(glob.glob("images/*.jpg")), "maps")
    for row in read_explanations("maps"):
        print(row["file"], row["class"], row["score"], row["heatmap"].shape)
    ```
    """
    batch_size = _whole("batch_size", batch_size, 1)
    shard_size = _whole("shard_size", shard_size, 1)
    num_workers = _whole("num_workers", num_workers, 1)
    worker = _whole("worker", worker, 0, num_workers - 1)
    if max_failures is not None:
        max_failures = _whole("max_failures", max_failures, 1)
    if format not in shards.FORMATS:
        raise ValueError(
            f"Argument `format` must be one of {list(shards.FORMATS)}. Received: "
            f"format={format!r}"
        )
    explainer = Explainer(cam, batch_size)
    source = image_sources.of(dataset, cam, load, files)
    folder = Folder(out_dir)
    sizes = {"format": format, "batch_size": batch_size, "shard_size": shard_size}
    folder.begin({**_facts(explainer, source), **sizes})
    share = Share(_done(folder, retry_failed), shard_size, worker, num_workers)
    tally = Progress(max_failures, verbose)
    if folder.is_finished() and not retry_failed:
        return tally.summary()
    with tally.taking_back(folder):
        for number in share.numbers(source):
            items = source.items(number * shard_size, (number + 1) * shard_size)
            batches = tally.counted(
                number,
                _batches(explainer, items, batch_size),
                lambda: share.images(source.expected),
            )
            first = next(batches, None)
            if first is not None:
                folder.write(number, format, itertools.chain([first], batches))
        if not share.has_begun_before:
            tally.check_any()
    _finish(folder, source.count, shard_size)
    return tally.summary()


def _done(folder, retry_failed):
    """The numbers of the shards that stay as they are."""
    done = folder.shards()
    if not retry_failed:
        return done
    return [n for n in done if all(row.error is None for row in folder.index(n))]


def _whole(name, value, low, high=None):
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        expected = f"from {low} on" if high is None else f"from {low} to {high}"
        raise ValueError(
            f"Argument `{name}` must be an int {expected}. Received: {name}={value!r}"
        )
    return int(value)


def _facts(explainer, source):
    """What must not change while a job is done in parts."""
    cam, spec = explainer.cam, explainer.spec
    return {
        "dtype": cam.output_dtype or "float32",
        "shape": None if spec is None else spec["heatmaps"].shape[1:].as_list(),
        "images": source.count,
        "files": fingerprints.of_texts(source.names or ()),
        "model": fingerprints.of_model(cam.model),
        "weights": fingerprints.of_arrays(w.value for w in cam.model.weights),
        "layer": fingerprints.told(cam.layer if spec is not None else cam.asked_layer),
        **{name: fingerprints.told(getattr(cam, name)) for name in SETTINGS},
    }


def _batches(explainer, items, batch_size):
    """Yields a list of pairs of a `shards.Row` and its heatmap for each batch."""
    dtype = explainer.cam.output_dtype or "float32"
    while batch := list(itertools.islice(items, batch_size)):
        sound = [item for item in batch if item.error is None]
        images, labels = [x.image for x in sound], [x.label for x in sound]
        found = iter(explainer(images, labels) if sound else ())
        yield [
            _row(
                item, next(found) if item.error is None else Failure(item.error), dtype
            )
            for item in batch
        ]


def _row(item, result, dtype):
    place = item.position, item.file
    if isinstance(result, Failure):
        return Row(*place, None, None, result.error), None
    row = Row(*place, result.class_index, result.score, None)
    return row, result.heatmap.astype(dtype, copy=False)


def _finish(folder, count, shard_size):
    """Notes the end of the job, if this worker is the last one."""
    numbers = range(-(-count // shard_size))
    if set(numbers) <= set(folder.shards()):
        folder.finish(count, len(numbers))
