"""The log of a training: each entry is measured, drawn and written."""

from typing import NamedTuple

from keras_gradcam.training.samples import ExplainedSamples


class Entry(NamedTuple):
    """What is known of the model at one step.

    Attributes:
        step: The step.
        explained: The `ExplainedSamples`.
        hardest: Tuple of the `(loss, sample)` that were found and the
            `ExplainedSamples` of these, or `None`.
        numbers: Dict from name to float, `None` for what is not known.
        draw: Whether to draw it.
        untrained: Whether it is of the model before the training.
    """

    step: int
    explained: ExplainedSamples
    hardest: tuple | None
    numbers: dict
    draw: bool
    untrained: bool


class EpochLog:
    """Makes entries. What fails in one part does not keep the others from their work.

    Args:
        explainer: A `SampleExplainer`.
        metrics: A `HeatmapMetrics`.
        drawer: A `PanelDrawer`.
        hardest: A `HighestLoss` that is prepared, or `None`.
        sinks: List of callables, see `sinks`.
        errors: An `ErrorPolicy`.
    """

    def __init__(self, explainer, metrics, drawer, hardest, sinks, errors):
        self._explainer = explainer
        self._metrics = metrics
        self._drawer = drawer
        self._hardest = hardest
        self._sinks = sinks
        self._errors = errors
        self._waiting = []

    def begin(self):
        """Begins a training: what is known of an earlier one is of no use to it."""
        # What waits is of a training that did not get beyond its first epoch.
        self._waiting.clear()
        self._metrics.begin()

    def follow(self, earlier):
        """Goes on with the `EpochLog` of a model before it was compiled anew."""
        if self._explainer.names == earlier._explainer.names:
            self._metrics.follow(earlier._metrics)
            self._waiting = earlier._waiting

    def enter(self, step, draw=True, measure=True, untrained=False):
        """Makes an entry.

        Args:
            step: The step.
            draw: Whether to draw it.
            measure: Whether to measure it.
            untrained: Whether it is of the model before the training.

        Returns:
            Dict from name to float, empty if nothing is measured, NaN what cannot be.
        """
        explained, numbers = None, self._metrics.unknown() if measure else {}
        with self._errors.handled("explaining"):
            explained = self._explainer.explain()
            numbers = self._metrics.of(explained) if measure else {}
        if explained is not None:
            hardest = self._explain_highest_loss() if draw else None
            self._add(Entry(step, explained, hardest, numbers, draw, untrained))
        return numbers

    def _explain_highest_loss(self):
        if self._hardest is None:
            return None
        with self._errors.handled("looking for high losses"):
            found = self._hardest.find()
            return found, self._explainer.explain_others(
                [sample for _, sample in found]
            )

    def _add(self, entry):
        self._waiting.append(entry)
        if entry.untrained and self._drawer.scale.is_open(entry.explained):
            # The untrained model says nothing of the strengths to come.
            return
        if not entry.untrained:
            self._drawer.scale.fix(entry.explained)
        while self._waiting:
            self._hand_out(self._waiting.pop(0))

    def _hand_out(self, entry):
        if not self._is_chief():
            return
        panels = self._panels(entry) if entry.draw else {}
        numbers = {key: x for key, x in entry.numbers.items() if x is not None}
        if numbers:
            numbers.update(self._drawer.scale.numbers())
        scalars = {f"{self._drawer.name}/{key}": x for key, x in numbers.items()}
        for sink in self._sinks:
            with self._errors.handled("writing"):
                sink(entry.step, panels, scalars)

    def _is_chief(self):
        strategy = getattr(self._explainer.cam.model, "distribute_strategy", None)
        return strategy is None or strategy.extended.should_save_summary

    def _panels(self, entry):
        panels = {}
        with self._errors.handled("drawing"):
            panels.update(self._drawer.draw(entry.explained, entry.untrained))
        if entry.hardest is not None:
            with self._errors.handled("drawing high losses"):
                panels.update(self._drawer.draw_hardest(*entry.hardest))
        return panels
