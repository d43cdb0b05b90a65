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
    """Makes entries. What fails in one part does not keep the others from their work.

    Args:
        watch: A `watch.Watch`.
        measures: A `measures.Measures`.
        album: An `album.Album`.
        hardest: A `hardest.Hardest` that is prepared, or `None`.
        sinks: List of callables, see `sinks`.
        going_on: Callable from the name of a part to a context, which may keep an error
            in it from going on.
    """

    def __init__(self, watch, measures, album, hardest, sinks, going_on):
        self._watch = watch
        self._measures = measures
        self._album = album
        self._hardest = hardest
        self._sinks = sinks
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
        with self._going_on("looking"):
            look = self._watch.look()
            numbers = self._measures.of(look) if measure else {}
        if look is not None:
            hardest = self._look_at_hardest() if draw else None
            self._add(Entry(step, look, hardest, numbers, draw, untrained))
        return numbers

    def _look_at_hardest(self):
        if self._hardest is None:
            return None
        with self._going_on("looking for high losses"):
            found = self._hardest.find()
            return found, self._watch.look_at([sample for _, sample in found])

    def _add(self, entry):
        if entry.untrained:
            # What waits is of a training that did not get beyond its first epoch.
            self._waiting.clear()
        self._waiting.append(entry)
        if entry.untrained and self._album.scale.is_open(entry.look):
            # The untrained model says nothing of the strengths to come.
            return
        if not entry.untrained:
            self._album.scale.fix(entry.look)
        while self._waiting:
            self._hand_out(self._waiting.pop(0))

    def _hand_out(self, entry):
        if not self._is_chief():
            return
        panels = self._panels(entry) if entry.draw else {}
        numbers = {key: x for key, x in entry.numbers.items() if x is not None}
        if numbers:
            numbers.update(self._album.scale.numbers())
        scalars = {f"{self._album.name}/{key}": x for key, x in numbers.items()}
        for sink in self._sinks:
            with self._going_on("writing"):
                sink(entry.step, panels, scalars)

    def _is_chief(self):
        strategy = getattr(self._watch.cam.model, "distribute_strategy", None)
        return strategy is None or strategy.extended.should_save_summary

    def _panels(self, entry):
        panels = {}
        with self._going_on("drawing"):
            panels.update(self._album.draw(entry.look, entry.untrained))
        if entry.hardest is not None:
            with self._going_on("drawing high losses"):
                panels.update(self._album.draw_hardest(*entry.hardest))
        return panels
