"""The journal of a training: entries that are measured, drawn and handed out."""

from typing import NamedTuple

from keras_gradcam.watch import Look


class Entry(NamedTuple):
    """A look, and what is made of it.

    Attributes:
        step: The step.
        look: A `watch.Look` at the samples.
        hardest: Tuple of the `(loss, sample)` that were found and the look at these, or
            `None`.
        numbers: Dict from name to float, `None` for what is not known.
        draw: Whether to draw it.
        untrained: Whether it is of the model before the training.
    """

    step: int
    look: Look
    hardest: tuple | None
    numbers: dict
    draw: bool
    untrained: bool


class Journal:
    """Makes entries.

    Args:
        watch: A `watch.Watch`.
        measures: A `measures.Measures`.
        album: An `album.Album`.
        scale: The `scale.Scale` of the album.
        hardest: A `hardest.Hardest` that is prepared, or `None`.
        sinks: List of callables, see `sinks`.
        resume: Callable from a step to the numbers of an interrupted training.
        name: The group of the tags.
        grid: See `GradCAMCallback`.
        going_on: Callable to a context in which an error may be kept from going on.
    """

    def __init__(
        self,
        watch,
        measures,
        album,
        scale,
        hardest,
        sinks,
        resume,
        name,
        grid,
        going_on,
    ):
        self._watch = watch
        self._measures = measures
        self._album = album
        self._scale = scale
        self._hardest = hardest
        self._sinks = sinks
        self._resume = resume
        self._name = name
        self._grid = grid
        self._going_on = going_on
        self._waiting = []

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
        look, numbers = None, self._measures.unknown() if measure else {}
        with self._going_on():
            look = self._watch.look()
            numbers = self._measures.of(look) if measure else {}
        if look is not None:
            hardest = self._look_at_hardest() if draw else None
            self._add(Entry(step, look, hardest, numbers, draw, untrained))
        return numbers

    def _look_at_hardest(self):
        if self._hardest is None:
            return None
        # On its own: what fails here must not take the rest along.
        with self._going_on():
            found = self._hardest.find()
            return found, self._watch.look_at([sample for _, sample in found])

    def _add(self, entry):
        if entry.untrained:
            # What waits is of a training that did not get beyond its first epoch.
            self._waiting.clear()
        self._waiting.append(entry)
        if entry.untrained and self._scale.is_open(entry.look):
            # The untrained model says nothing of the strengths to come.
            return
        if not entry.untrained:
            with self._going_on():
                self._scale.fix(entry.look, self._resume(entry.step))
        while self._waiting:
            self._hand_out(self._waiting.pop(0))

    def _hand_out(self, entry):
        if not self._is_chief():
            return
        panels = self._panels(entry) if entry.draw else {}
        scalars = {key: x for key, x in entry.numbers.items() if x is not None}
        if scalars:
            scalars.update(self._scale.numbers())
        for sink in self._sinks:
            with self._going_on():
                sink(entry.step, panels, scalars)

    def _is_chief(self):
        strategy = getattr(self._watch.cam.model, "distribute_strategy", None)
        return strategy is None or strategy.extended.should_save_summary

    def _panels(self, entry):
        """Dict from tag to list of pictures."""
        panels = {}
        heading = "before training" if entry.untrained else ""
        headings = [heading] * len(entry.look.labels)
        with self._going_on():
            panels[self._tag()] = self._album.panels(entry.look, headings)
            if self._grid:
                sheet = self._album.sheet(entry.look, headings)
                panels[f"{self._name}/all samples"] = [sheet]
        if entry.hardest is not None:
            found, look = entry.hardest
            headings = [f"#{sample.number}, loss {loss:.3g}" for loss, sample in found]
            with self._going_on():
                drawn = self._album.panels(look, headings, outlined=False)
                panels[f"{self._name}/highest loss"] = drawn
        return panels

    def _tag(self):
        layer = self._watch.cam.layer
        return f"{self._name}/{', '.join(layer) if isinstance(layer, list) else layer}"
