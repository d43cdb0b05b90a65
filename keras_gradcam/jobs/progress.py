"""What of a large job is left to do, and what is done: its shards, and its count."""

import contextlib
import functools
import itertools
import sys
import time
import warnings
from typing import NamedTuple

import keras


class Summary(NamedTuple):
    """What a call of `explain_dataset` has done.

    Attributes:
        explained: Int, the number of images whose heatmap was written.
        failed: Int, the number of images that have none; the index says why.
    """

    explained: int
    failed: int


class Share:
    """The shards that a worker has still to write.

    Args:
        done: List with the numbers of those that are finished.
        shard_size: See `explain_dataset`.
        worker: See `explain_dataset`.
        num_workers: See `explain_dataset`.
    """

    def __init__(self, done, shard_size, worker, num_workers):
        self._done = set(done)
        self.has_begun_before = bool(done)
        self._shard_size = shard_size
        self._worker, self._num_workers = worker, num_workers
        self.images = functools.lru_cache(maxsize=1)(self._images)

    def numbers(self, source):
        """Yields their numbers, until the source ends: it may find out on the way."""
        for number in itertools.count(self._worker, self._num_workers):
            if source.count is not None and number * self._shard_size >= source.count:
                return
            if number not in self._done:
                yield number

    def _images(self, count):
        """How many of `count` images are left for this worker, `None` if unknown."""
        if count is None:
            return None
        starts = range(0, count, self._shard_size)
        mine = range(self._worker, len(starts), self._num_workers)
        return sum(
            min(self._shard_size, count - starts[n])
            for n in mine
            if n not in self._done
        )


class Progress:
    """Counts what is done, shows it, and stops what makes no sense to go on with.

    Args:
        max_failures: See `explain_dataset`.
        verbose: See `explain_dataset`.
    """

    def __init__(self, max_failures, verbose):
        self._explained = self._failed = 0
        self._max_failures = max_failures
        # The images in a row that failed last, their shards, and the last of them.
        self._in_a_row = 0
        self._shards: set = set()
        self._last = None
        self._start = time.time()
        self._bar = None
        if verbose:
            watched = sys.stdout.isatty() or "ipykernel" in sys.modules
            self._bar = keras.utils.Progbar(
                None,
                interval=0.1 if watched else 10,
                stateful_metrics=["images_per_s"],
                unit_name="image",
            )

    def counted(self, number, batches, left):
        """Yields the batches of a shard.

        Args:
            number: Int, the shard.
            batches: Iterator of lists of pairs of a `shards.Row` and its heatmap.
            left: Callable to the number of images in all, as far as known.
        """
        for batch in batches:
            for row, _ in batch:
                self._count(row, number)
            self._show(left())
            yield batch

    def _count(self, row, number):
        if row.error is None:
            self._explained += 1
            self._in_a_row = 0
            self._shards.clear()
            return
        self._failed += 1
        self._in_a_row += 1
        self._shards.add(number)
        self._last = row
        if self._in_a_row == self._max_failures:
            raise self._too_many_failures()

    def check_any(self):
        """Raises if there are images, and none could be explained."""
        if self._failed and not self._explained:
            raise self._too_many_failures()

    def _too_many_failures(self):
        return RuntimeError(
            f"The last {self._in_a_row} images in a row could not be explained. Check "
            "`dataset`, `load` and what they read from, and call again: these images "
            "will be tried again. If they are broken leave them out, or pass a larger "
            f"`max_failures`. The last one, '{self._last.file}': {self._last.error}"
        )

    @contextlib.contextmanager
    def taking_back(self, folder):
        """On an error the shards of images that failed in a row are not finished."""
        try:
            yield
        except Exception:
            for number in self._shards & set(folder.shards()):
                folder.discard(number)
            raise

    def _show(self, left, finalize=False):
        images = self._explained + self._failed
        if self._bar is not None and images:
            self._bar.target = left
            rate = images / max(time.time() - self._start, 1e-9)
            values = [("images_per_s", round(rate, 1))]
            self._bar.update(images, values, finalize=finalize)

    def summary(self):
        """Returns the `Summary`, and says what is missing."""
        self._show(self._explained + self._failed, finalize=True)
        if self._failed:
            warnings.warn(
                f"{self._failed} of {self._explained + self._failed} images could not "
                "be explained. The column `error` of the index, shard-*.csv, says why.",
                stacklevel=3,
            )
        return Summary(self._explained, self._failed)
