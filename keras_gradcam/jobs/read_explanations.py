"""`read_explanations`: the output of a large job as a `tf.data.Dataset`."""

import numpy as np
import tensorflow as tf

from keras_gradcam.jobs.shards import Folder


def read_explanations(out_dir, partial=False):
    """Reads what `explain_dataset` has written.

    Args:
        out_dir: String or path object, the folder.
        partial: Whether to read what there is of a job that is not finished. Defaults
            to `False`.

    Returns:
        A `tf.data.Dataset` with a dict for each image that has a heatmap, in the order
        of the job: `"heatmap"` of the shape and type that it was written in; `"class"`,
        int64, -1 where the target was a callable; `"score"`, float32, or `(n,)` where
        the target returned n scores; `"file"`, string, empty where it was not known;
        and `"position"`, int64, the place of the image in the job. Images without a
        heatmap are in the index alone.

    Raises:
        FileNotFoundError: If there is no job in `out_dir`.
        ValueError: If the job is not finished, or has no heatmap at all.

    Example:

    ```python
    rows = read_explanations("maps")
    uncertain = rows.filter(lambda row: row["score"] < 1.0)
    heatmaps = rows.map(lambda row: row["heatmap"]).batch(32)
    ```
    """
    folder = Folder(out_dir)
    settings = folder.settings()
    if settings is None:
        raise FileNotFoundError(
            "Argument `out_dir` must be a folder that `explain_dataset` has written "
            f"to. Received: out_dir='{out_dir}', which has no job.json"
        )
    if not partial and not folder.is_finished():
        raise ValueError(
            "The job is not finished: call `explain_dataset` again with the same "
            "arguments, and with each `worker`, or read what there is with "
            f"`partial=True`. Received: out_dir='{out_dir}'"
        )
    read = {"tfrecord": _from_tfrecords, "npy": _from_arrays}[settings["format"]]
    return read(folder, settings)


def _first(rows, folder):
    for row in rows:
        return row
    raise ValueError(
        f"The job in '{folder.path}' has no heatmap. The column `error` of its index, "
        "shard-*.csv, says why."
    )


def _from_tfrecords(folder, settings):
    paths = [folder.file(number, "tfrecord") for number in folder.shards()]
    records = tf.data.TFRecordDataset(paths)
    first = tf.train.Example.FromString(_first(records.take(1), folder).numpy())
    features = first.features.feature
    axes = len(features["shape"].int64_list.value)
    scores = len(features["score"].float_list.value)
    parts = {
        "heatmap": tf.io.FixedLenFeature([], tf.string),
        "shape": tf.io.FixedLenFeature([axes], tf.int64),
        "class": tf.io.FixedLenFeature([], tf.int64),
        "score": tf.io.FixedLenFeature([] if scores == 1 else [scores], tf.float32),
        "file": tf.io.FixedLenFeature([], tf.string),
        "position": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(record):
        row = tf.io.parse_single_example(record, parts)
        values = tf.io.decode_raw(row["heatmap"], settings["dtype"])
        heatmap = tf.reshape(values, row.pop("shape"))
        if settings["shape"] is not None:
            heatmap = tf.ensure_shape(heatmap, settings["shape"])
        return row | {"heatmap": heatmap}

    return records.map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def _from_arrays(folder, settings):
    def rows():
        for number in folder.shards():
            with tf.io.gfile.GFile(folder.file(number, "npy"), "rb") as file:
                heatmaps = iter(np.load(file))
            for row in folder.index(number):
                if row.error is None:
                    yield _as_dict(row, next(heatmaps))

    spec = tf.nest.map_structure(tf.type_spec_from_value, _first(rows(), folder))
    return tf.data.Dataset.from_generator(rows, output_signature=spec)


def _as_dict(row, heatmap):
    return {
        "heatmap": tf.constant(heatmap),
        "class": tf.constant(
            -1 if row.class_index is None else row.class_index, "int64"
        ),
        "score": tf.constant(row.score, "float32"),
        "file": tf.constant(row.file),
        "position": tf.constant(row.position, "int64"),
    }
