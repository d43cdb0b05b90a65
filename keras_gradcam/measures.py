"""The numbers of a look: how strong, spread out and well placed the heat is."""

from keras_gradcam import metrics


class Measures:
    """Measures one look after the other.

    Args:
        count: How many samples are measured, from the first.
        regions: Boxes or masks of these, see `metrics`, or `None`.
    """

    def __init__(self, count, regions=None):
        self._count = count
        self._regions = regions
        self._before = None

    def of(self, look):
        """Returns the numbers of a `watch.Look`, a dict from name to float.

        `peak`, `entropy` and `empty`; `drift`, from the second look on; `pointing` and
        `inside` where regions are known. Of several heatmaps each has its own, its name
        ahead of the number's: `true_peak`.
        """
        heatmaps = [column[: self._count] for column in look.heatmaps]
        before = self._before or [None] * len(heatmaps)
        self._before = heatmaps
        return {
            f"{name}_{key}".replace("/", "_").replace(" ", "_") if name else key: value
            for name, earlier, now in zip(look.names, before, heatmaps, strict=True)
            for key, value in self._of_one(earlier, now).items()
        }

    def _of_one(self, before, heatmaps):
        numbers = {
            "peak": metrics.peak_strength(heatmaps),
            "entropy": metrics.entropy(heatmaps),
            "empty": metrics.empty_share(heatmaps),
        }
        if before is not None:
            numbers["drift"] = metrics.drift(before, heatmaps)
        if self._regions is not None:
            numbers["pointing"] = metrics.pointing_accuracy(heatmaps, self._regions)
            numbers["inside"] = metrics.heat_inside(heatmaps, self._regions)
        return numbers
