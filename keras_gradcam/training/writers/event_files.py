"""Event files: what TensorBoard reads, written without it."""

import contextlib
import fnmatch
import itertools
import math
import os
import socket
import time

import tensorflow as tf

EVENT_FILES = "events.out.tfevents.*"

# Numbers the event files of a process: the clock may stand still.
_serial = itertools.count()


class EventFiles:
    """A sink that writes event files for TensorBoard, which need not be installed.

    Each training that begins anew gets a run of its own: `name`, `name-2` and so on;
    see `begin`. So does one whose steps go back.

    Args:
        log_dir: Directory of TensorBoard's runs, local or any that `tf.io.gfile` knows.
        name: Name of the run.
        image_format: `"jpeg"` or `"png"`.
        description: Markdown, shown with the pictures.

    Raises:
        tf.errors.OpError: From a call, if the disk does not take it all. The
            next call begins a new file, so that nothing written later is lost.
    """

    def __init__(self, log_dir, name="gradcam", image_format="jpeg", description=""):
        self.log_dir = os.fspath(log_dir)
        self.name = name
        self.image_format = image_format
        self.description = description
        self._directory = None
        self._first_step = -math.inf
        self._path = None
        self._file = None

    def __call__(self, step, panels, scalars):
        summary = tf.compat.v1.Summary()
        for tag, pictures in panels.items():
            summary.value.append(self._image(tag, pictures))
        for tag, value in scalars.items():
            summary.value.append(_scalar(tag, value))
        self._open(step)
        try:
            self._write(summary=summary, step=step)
        except Exception:
            # What follows a torn record could not be read.
            self.close()
            raise
        self._first_step = step

    def close(self):
        """Closes the file; a further call opens another one in the same run."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def begin(self, goes_on):
        """Begins a training: anew, in a run of its own, or where an earlier one ended.

        Args:
            goes_on: Whether it goes on: in the last run, if its steps do, too. After a
                crash they may begin before the last one that was written, and need a
                run of their own.

        Returns:
            The last numbers of the earlier one, a dict from tag to float, where that
            was in another process; else an empty dict.
        """
        numbers: dict = {}
        if not goes_on:
            self._directory = None
        elif self._directory is None and self._runs():
            self._directory = self._runs()[-1]
            last_step, numbers = _last_of(self._directory)
            self._first_step = last_step + 1
        return numbers

    def make_directory(self):
        """Makes `log_dir`; what is wrong with it is then known before a training.

        Raises:
            OSError: If it cannot be made.
        """
        try:
            tf.io.gfile.makedirs(self.log_dir)
        except tf.errors.OpError as error:
            raise OSError(
                "Argument `log_dir` must be a directory that can be made. Received: "
                f"log_dir={self.log_dir!r} ({error.message})"
            ) from error

    def _open(self, step):
        """Makes sure of a file in the run that a step belongs to."""
        if self._directory is None or step < self._first_step:
            self.close()
            count = len(self._runs())
            self._directory = os.path.join(
                self.log_dir, _run_name(self.name, count + 1)
            )
        # Somebody may have cleared the directory.
        if self._file is None or not tf.io.gfile.exists(self._path):
            self.close()
            tf.io.gfile.makedirs(self._directory)
            stamp = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
            name = EVENT_FILES.replace("*", f"{stamp}.{next(_serial):04d}.gradcam")
            self._path = os.path.join(self._directory, name)
            self._file = tf.io.TFRecordWriter(self._path)
            self._write(file_version="brain.Event:2")

    def _write(self, **fields):
        event = tf.compat.v1.Event(wall_time=time.time(), **fields)
        self._file.write(event.SerializeToString())
        self._file.flush()

    def _runs(self):
        """The runs of this name that have event files, the oldest first."""
        names = (_run_name(self.name, n) for n in itertools.count(1))
        paths = (os.path.join(self.log_dir, name) for name in names)
        return list(itertools.takewhile(_event_files, paths))

    def _image(self, tag, pictures):
        height, width, _ = pictures[0].shape
        encode = ENCODERS[self.image_format]
        encoded = [encode(picture).numpy() for picture in pictures]
        # Written by hand: `tf.summary` needs the tensorboard package, obeys the
        # recording conditions of others, and does not say when a disk is full.
        return tf.compat.v1.Summary.Value(
            tag=tag,
            metadata=_metadata("images", self.description),
            tensor=tf.make_tensor_proto(
                [str(width).encode(), str(height).encode(), *encoded]
            ),
        )


def _scalar(tag, value):
    return tf.compat.v1.Summary.Value(
        tag=tag,
        metadata=_metadata("scalars"),
        tensor=tf.make_tensor_proto(value, tf.float32),
    )


def _metadata(plugin, description=""):
    metadata = tf.compat.v1.SummaryMetadata(summary_description=description)
    metadata.plugin_data.plugin_name = plugin
    return metadata


def _encode_jpeg(picture):
    # Full colour resolution: the strip's text would fray without it.
    return tf.io.encode_jpeg(picture, quality=90, chroma_downsampling=False)


def _encode_png(picture):
    return tf.io.encode_png(picture, compression=1)


ENCODERS = {"jpeg": _encode_jpeg, "png": _encode_png}


def _run_name(name, number):
    return f"{name}-{number}" if number > 1 else name


def _event_files(directory):
    # Not `glob`, which takes brackets in the name of the directory for a pattern.
    if not tf.io.gfile.isdir(directory):
        return []
    names = fnmatch.filter(tf.io.gfile.listdir(directory), EVENT_FILES)
    return [os.path.join(directory, name) for name in sorted(names)]


def _last_of(directory):
    """The last step of a run, and the last value of each of its numbers."""
    last_step, numbers = -math.inf, {}
    for path in _event_files(directory):
        with contextlib.suppress(tf.errors.DataLossError):  # A disk was full.
            for record in tf.data.TFRecordDataset(path):
                event = tf.compat.v1.Event.FromString(record.numpy())
                for value in event.summary.value:
                    last_step = max(last_step, event.step)
                    if value.metadata.plugin_data.plugin_name == "scalars":
                        numbers[value.tag] = float(tf.make_ndarray(value.tensor))
    return last_step, numbers
