"""The files of a large job: shards of heatmaps, an index beside each, the settings.

    job.json            the settings of the job, for all workers
    shard-00000.csv     position, file, class, score and error of each image
    shard-00000.npy     the heatmaps of those without an error; or .tfrecord
    finished.json       the number of images and of shards, when all are done

A shard is finished when its index is there: it is renamed last.
"""

import csv
import io
import json
import os
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

FORMATS = ("tfrecord", "npy")

PART = ".part"

COLUMNS = ("position", "file", "class", "score", "error")


class Row(NamedTuple):
    """One image in an index.

    Attributes:
        position: Int, its place in the whole job.
        file: String, the name of its file, or empty.
        class_index: Int, the explained class, `None` if there is none.
        score: The target's score, a float or an array `(n,)`; `None` after an error.
        error: String, why there is no heatmap, `None` if there is one.
    """

    position: int
    file: str
    class_index: int | None
    score: np.ndarray | None
    error: str | None


class Folder:
    """A folder with the files of a job; any that `tf.io.gfile` can write to.

    Args:
        path: String or path object.
    """

    def __init__(self, path):
        self.path = os.path.expanduser(os.fspath(path))

    def settings(self):
        """Returns the settings of the job, `None` if there is no job."""
        return self._read_json("job.json")

    def finished(self):
        """Returns a dict with the numbers of `"images"` and `"shards"`, or `None`."""
        return self._read_json("finished.json")

    def is_finished(self):
        """Whether all shards of a job are there."""
        finished = self.finished()
        return finished is not None and len(self.shards()) == finished["shards"]

    def begin(self, settings):
        """Notes the settings of a job, or goes on with one of the same settings.

        Raises:
            ValueError: If there is a job of other settings.
        """
        tf.io.gfile.makedirs(self.path)
        # As they will be read.
        settings = json.loads(json.dumps(settings))
        before = self.settings()
        if before is None:
            self._write("job.json", _as_json(settings))
        elif before != settings:
            keys = sorted(before.keys() | settings.keys())
            different = [key for key in keys if before.get(key) != settings.get(key)]
            old, new = (
                {key: x.get(key) for key in different} for x in (before, settings)
            )
            raise ValueError(
                f"Argument `out_dir` holds a job of other settings, {old}. Go on with "
                "these, or pass another folder. Received: "
                f"out_dir='{self.path}' and {new}"
            )

    def finish(self, images, shards):
        """Notes that all is done, and removes what kills have left behind."""
        self._write("finished.json", _as_json({"images": images, "shards": shards}))
        for name in tf.io.gfile.listdir(self.path):
            if name.endswith(PART):
                tf.io.gfile.remove(self._join(name))

    def shards(self):
        """Returns the numbers of the finished shards, ascending."""
        names = set(tf.io.gfile.listdir(self.path))
        found = [re.fullmatch(r"(shard-(\d{5,}))\.csv", name) for name in names]
        return sorted(
            int(name[2])
            for name in found
            if name and any(f"{name[1]}.{format}" in names for format in FORMATS)
        )

    def file(self, number, suffix):
        """Returns the path of a shard or its index."""
        return self._join(f"shard-{number:05d}.{suffix}")

    def index(self, number):
        """Yields each `Row` of a shard."""
        with tf.io.gfile.GFile(self.file(number, "csv")) as file:
            text = io.StringIO(file.read(), newline="")
        for row in csv.DictReader(text):
            yield Row(
                int(row["position"]),
                row["file"],
                int(row["class"]) if row["class"] else None,
                _as_score(row["score"]),
                row["error"] or None,
            )

    def write(self, number, format, batches):
        """Writes a shard, or nothing of it if `batches` raises.

        Args:
            number: Int.
            format: One of `FORMATS`.
            batches: Yields lists of pairs of a `Row` and its heatmap, `None` after an
                error. The next list is made while the last one is written.
        """
        data = self.file(number, format)
        part = _part(data)
        index = io.StringIO()
        # A carriage return in a name is only quoted where everything is.
        table = csv.writer(index, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        table.writerow(COLUMNS)
        with WRITERS[format](part) as writer, ThreadPoolExecutor(1) as thread:
            writing = None
            for batch in batches:
                if writing is not None:
                    writing.result()
                writing = thread.submit(_write_batch, writer, table, batch)
            if writing is not None:
                writing.result()
        tf.io.gfile.rename(part, data, overwrite=True)
        self._write(f"shard-{number:05d}.csv", index.getvalue())

    def discard(self, number):
        """Takes back that a shard is finished."""
        tf.io.gfile.remove(self.file(number, "csv"))

    def _join(self, name):
        return tf.io.gfile.join(self.path, name)

    def _write(self, name, text):
        path = self._join(name)
        part = _part(path)
        with tf.io.gfile.GFile(part, "w") as file:
            file.write(text)
        tf.io.gfile.rename(part, path, overwrite=True)

    def _read_json(self, name):
        path = self._join(name)
        if not tf.io.gfile.exists(path):
            return None
        with tf.io.gfile.GFile(path) as file:
            text = file.read()
        # Without power a file may be there and empty.
        return json.loads(text) if text else None


def _part(path):
    """Where a file is written before it is whole: each writer has its own."""
    return f"{path}.{uuid.uuid4().hex}{PART}"


def _write_batch(writer, table, batch):
    for row, heatmap in batch:
        table.writerow(_cells(row))
        if row.error is None:
            writer.write(row, heatmap)


def _as_json(value):
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def _cells(row):
    number = "" if row.class_index is None else row.class_index
    score = "" if row.score is None else " ".join(map(str, np.atleast_1d(row.score)))
    return row.position, row.file, number, score, row.error or ""


def _as_score(text):
    if not text:
        return None
    numbers = np.array(text.split(), np.float32)
    return numbers[0] if len(numbers) == 1 else numbers


class _TFRecordWriter:
    """Writes each explanation as a `tf.train.Example`."""

    def __init__(self, path):
        self._writer = tf.io.TFRecordWriter(path)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._writer.close()

    def write(self, row, heatmap):
        number = -1 if row.class_index is None else row.class_index
        features = {
            "heatmap": _bytes(
                heatmap.astype(heatmap.dtype.newbyteorder("<")).tobytes()
            ),
            "shape": _ints(heatmap.shape),
            "class": _ints([number]),
            "score": _floats(np.atleast_1d(row.score)),
            "file": _bytes(row.file.encode()),
            "position": _ints([row.position]),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        self._writer.write(example.SerializeToString(deterministic=True))


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _ints(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


class _NumPyWriter:
    """Writes all heatmaps of a shard as one array, which waits in memory till then."""

    def __init__(self, path):
        self._path = path
        self._heatmaps = []

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        if kind is None:
            with tf.io.gfile.GFile(self._path, "wb") as file:
                np.save(
                    file, np.stack(self._heatmaps) if self._heatmaps else np.zeros(0)
                )

    def write(self, row, heatmap):
        first = (self._heatmaps or [heatmap])[0]
        if heatmap.shape != first.shape:
            raise ValueError(
                "Argument `format='npy'` needs heatmaps of one shape. Pass a size as "
                "`resize` to `GradCAM`, or take `format='tfrecord'`. Received: "
                f"heatmaps of shapes {first.shape} and {heatmap.shape}"
            )
        self._heatmaps.append(heatmap)


WRITERS = {"tfrecord": _TFRecordWriter, "npy": _NumPyWriter}
