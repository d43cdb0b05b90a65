"""`GradCAMCallback`: heatmaps and their numbers while a model trains."""

import keras
import numpy as np

from keras_gradcam.data import choose, classes_in, length_of
from keras_gradcam.execution import model_inputs
from keras_gradcam.training import arguments
from keras_gradcam.training.color_scale import ColorScale
from keras_gradcam.training.epoch_log import EpochLog
from keras_gradcam.training.error_policy import ErrorPolicy
from keras_gradcam.training.heatmap_metrics import HeatmapMetrics
from keras_gradcam.training.panels import (
    Captions,
    PanelDrawer,
    check_size,
    name_of,
)
from keras_gradcam.training.samples import (
    ChosenSamples,
    HighestLoss,
    SampleExplainer,
    labels_of_chosen,
    regions_of_chosen,
    target_of_chosen,
)
from keras_gradcam.training.step_counter import StepCounter
from keras_gradcam.training.writers import EventFiles

# The step of the model before the first epoch, which is step 0.
BEFORE = -1


class GradCAMCallback(keras.callbacks.Callback):
    """Shows while a model trains where it looks, and measures it.

    For each sample it draws one panel: the input, the heatmap, the heatmap laid over
    the input, and below it the true label, the predicted one and the model's confidence
    on green or red. TensorBoard shows the panels under Images, with a slider over the
    epochs: before the training, after each `freq` epochs, and after the last one. They
    are in a run of their own, `log_dir/gradcam`, on disk when the epoch ends, and stay
    the same samples for the whole training.

    A further call of `fit` with the same callback and model goes on with the training,
    at the next step. A new training, in a run of its own, begins with another model or
    callback, with weights that were put back to the first ones, and with a new
    optimizer where all weights are new. With `initial_epoch` above 0 it always goes on.

    After each epoch it also measures the heatmaps. The numbers are curves in
    TensorBoard and entries of `logs`, so that callbacks behind this one in the list,
    the progress bar and the history have them:

    | In `logs` | What it is |
    |---|---|
    | `gradcam_peak` | mean peak of the raw maps, in units of the score |
    | `gradcam_entropy` | how spread out the heat is, 0 (one place) to 1 (even) |
    | `gradcam_drift` | share of the heat that moved since the last time, 0 to 1 |
    | `gradcam_empty` | share of maps without evidence, 0 to 1 |
    | `gradcam_pointing` | share of maps that peak inside `masks` or `boxes`, 0 to 1 |
    | `gradcam_inside` | mean share of the heat inside them, 0 to 1 |

    With `target="both"` and with several layers each heatmap has its own numbers:
    `gradcam_predicted_inside`, `gradcam_true_inside`; `gradcam_conv3_inside`. The drift
    is NaN where nothing came before, the entropy where no map has heat. A map without
    heat, or with NaN, points nowhere and has no heat inside.

    Training is not touched: weights, random numbers and metrics are bit for bit those
    of a training without the callback (a dataset that is shuffled anew each time it is
    read must not be given to both). What goes wrong while it trains, a full disk for
    instance, is a warning and not the end of the training; numbers that cannot be
    measured are NaN then. The `tensorboard` package is needed to look at the panels,
    not to write them.

    Args:
        images: What to look at, as the model takes it: an array or tensor `(samples,
            height, width, channels)`; a list or dict of arrays for a model of several
            inputs; a tuple `(images, y_true)`; a `tf.data.Dataset`, batched or not, or
            a `keras.utils.PyDataset`, with or without labels.
        y_true: The true labels, where `images` brings none: ints `(samples,)`, or
            one-hot or multi-hot rows `(samples, classes)`. Defaults to `None`, no true
            label is shown.
        layer: See `GradCAM`. A list shows one heatmap and overlay for each layer.
            Defaults to `None`.
        log_dir: Directory of TensorBoard's runs, the one that
            `keras.callbacks.TensorBoard` is given. `None` writes nothing there.
            Defaults to `"logs"`.
        freq: Draw every `freq` epochs, the first and the last one included (of calls
            of `fit` that go on, where they have `freq` epochs); the numbers come every
            epoch. 0 switches the callback off, unless `update_freq` is given. Defaults
            to `1`.
        num_samples: How many samples are shown. Defaults to `8`.
        target: `"pred"`, each sample's predicted class; `"true"`, its true one; or
            `"both"`, one heatmap for each. Or any other target, see `GradCAM`; of a
            sequence, one class for each of `images`. Defaults to `None`, as `"pred"`.
        label_map: Names of the classes, a list or a dict from class to name.
            Defaults to `None`, the numbers.
        value_range: The values of `images` that are black and white, such as `(-1, 1)`.
            Defaults to `None`: found out where that is safe.
        image_format: `"jpeg"` or `"png"`. PNG is lossless, takes 4 times the space and
            8 times the time. Defaults to `"jpeg"`.
        samples: Which of `images`: `"first"`, `"random"`, or `"stratified"`, the
            classes in turn. All but the first reads all of a dataset; where its end is
            not known, as of a generator, 10,000 samples at most, and warns of more.
            Defaults to `"first"`.
        seed: Int, of `samples="random"`. Defaults to `0`.
        update_freq: Draw and measure every `update_freq` batches, and after the last
            one, instead of by epochs, which may be long. The step is the number of
            batches that the optimizer has seen; an epoch's `logs` have the last
            numbers. Defaults to `None`.
        masks: Where the object is in each of `images`: array `(samples, height,
            width)`, not zero inside. Outlined in the panels, and measured against.
            Defaults to `None`.
        boxes: The same as boxes, `(samples, 4)`, each `(top, left, bottom, right)` in
            pixels, bottom and right exclusive. Defaults to `None`.
        scale: `"sample"` draws each map relative to its own peak (or as `normalize`
            says). `"run"` keeps one scale of colours for the whole training, so that
            strengths compare between epochs: a value `v` is drawn at `v / (v + s)`,
            where `s` is the mean peak at the first step behind the untrained model
            (the panels of that one wait for it), written as a curve, `scale`. A number
            is `s` itself, in units of the score, so that trainings compare. Defaults to
            `"sample"`.
        grid: Whether to add one picture with the overlays of all samples, for one
            slider. Defaults to `False`.
        hardest: Labelled data, as for `images`, such as the validation set: shows the
            samples with the highest loss, with their numbers in the data, looked for
            anew each time. That costs a forward pass of all the data, of 10,000 samples
            at most where no end is known. Defaults to `None`.
        num_hardest: How many of these. Defaults to `4`.
        to_picture: Callable from a batch of images, as the model takes them, to what is
            drawn of them, of the same height and width; for images with other than 1, 3
            or 4 channels, or to undo a preprocessing. Defaults to `None`, the images.
        sinks: Other places for the panels and numbers, see `sinks`: callables `(step,
            panels, scalars)`, such as `sinks.PictureFiles("pictures", "webp")`.
            Defaults to none.
        on_error: What to do about an error while the model trains: `"warn"`, once for
            each kind in a training, and go on; or `"raise"`. Defaults to `"warn"`.
        name: Of the run, the tags and the numbers; two callbacks of one training need
            two names. Defaults to `"gradcam"`.
        **options: Other arguments of `GradCAM`, but `return_predictions`.

    Raises:
        TypeError: If `images` or `sinks` have the wrong type, or an argument is
            unknown.
        ValueError: If an argument is out of range, or they do not fit each other. What
            depends on the model (an unknown layer, images that it does not take) raises
            when training begins, before the first batch.
        OSError: If `log_dir` cannot be made, when training begins.

    Example:

    ```python
    watch = GradCAMCallback(x_val, y_val, log_dir="logs", boxes=boxes_val)
    best = keras.callbacks.ModelCheckpoint(
        "best.keras", monitor="gradcam_inside", mode="max", save_best_only=True
    )
    model.fit(x, y, epochs=10, callbacks=[watch, best])
    ```
    """

    def __init__(
        self,
        images,
        y_true=None,
        layer=None,
        log_dir="logs",
        freq=1,
        num_samples=8,
        target=None,
        label_map=None,
        value_range=None,
        image_format="jpeg",
        *,
        samples="first",
        seed=0,
        update_freq=None,
        masks=None,
        boxes=None,
        scale="sample",
        grid=False,
        hardest=None,
        num_hardest=4,
        to_picture=None,
        sinks=(),
        on_error="warn",
        name="gradcam",
        **options,
    ):
        super().__init__()
        arguments.check_count("freq", freq, at_least=0)
        arguments.check_count("num_samples", num_samples, at_least=1)
        arguments.check_count("num_hardest", num_hardest, at_least=1)
        if update_freq is not None:
            arguments.check_count("update_freq", update_freq, at_least=1)
        arguments.check_choice("image_format", image_format, ("jpeg", "png"))
        arguments.check_choice("on_error", on_error, ("warn", "raise"))
        arguments.check_name(name)
        arguments.check_scale(scale)
        arguments.check_options({"layer": layer, **options})
        self.layer = layer
        self.log_dir = arguments.as_log_dir(log_dir)
        self.freq = freq
        self.update_freq = update_freq
        self.target = target
        self.label_map = label_map
        self.value_range = value_range
        self.to_picture = to_picture
        self.image_format = image_format
        self.scale = scale
        self.grid = grid
        self.on_error = on_error
        self.name = name
        self.options = options
        chosen = choose(images, y_true, num_samples, samples, seed)
        labels = labels_of_chosen(chosen, y_true)
        count = length_of(images)
        self._chosen = ChosenSamples(
            chosen,
            labels,
            regions_of_chosen(chosen, masks, boxes, options, count),
            target_of_chosen(target, chosen, labels, count),
            value_range,
            to_picture,
        )
        self._hardest = None if hardest is None else HighestLoss(hardest, num_hardest)
        self._scale = ColorScale(scale, options.get("normalize"))
        self._event_files = None
        if log_dir is not None:
            self._event_files = EventFiles(self.log_dir, name, image_format)
        self._sinks = [self._event_files] if self._event_files else []
        self._sinks += arguments.as_sinks(sinks)
        self._errors = ErrorPolicy(on_error)
        self._made_for = None, None
        self._epoch_log = None
        self._steps = StepCounter(by_batches=update_freq is not None)
        self._check()

    def _implements_train_batch_hooks(self):
        # What Keras 2 asks of a callback, before it gives it the model.
        raise TypeError(f"The model is one of Keras 2. {model_inputs.FROM_KERAS_2}")

    # When.

    def on_train_begin(self, logs=None):
        self._prepare()
        self._is_begun = False
        self._last_epoch = None
        self._last_drawn = None
        self._numbers = {}

    def on_epoch_begin(self, epoch, logs=None):
        self._is_measured = False
        if not self._is_begun:
            # Only now has every callback begun, and weights have been restored.
            self._is_begun = True
            self._steps.begin(self.model, epoch)
            if not self._steps.is_continued:
                self._begin(goes_on=self._steps.is_resumed)

    def on_train_batch_end(self, batch, logs=None):
        if self.update_freq is None:
            return
        before, now = self._steps.end_batch()
        if before // self.update_freq != now // self.update_freq:
            self._log(now, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._last_epoch = epoch
        self._steps.end_epoch(epoch)
        if not self._is_on():
            return
        step = self._steps.step(epoch)
        is_last = epoch + 1 == (self.params or {}).get("epochs")
        is_last = (is_last or self.model.stop_training) and self._draws_last()
        is_due = self.update_freq is None and step % self.freq == 0
        # In between two measurements by batches another one would halve the drift.
        is_known = self._is_measured and self.update_freq is not None
        if step == self._last_drawn or (is_known and not is_last):
            self._note(logs)
        else:
            self._log(step, logs, draw=is_due or is_last)

    def on_train_end(self, logs=None):
        if self._last_epoch is not None:
            self._steps.end()
            step = self._steps.step(self._last_epoch)
            # A callback behind this one has stopped the training.
            if self._is_on() and step != self._last_drawn and self._draws_last():
                self._log(step, measure=False)
        for sink in self._sinks:
            with self._errors.handled("closing"):
                getattr(sink, "close", lambda: None)()

    def _is_on(self):
        return bool(self.update_freq or self.freq)

    def _draws_last(self):
        """Whether the end of a call is drawn; of a loop of short ones it is not."""
        freq = self.update_freq or self.freq
        return not self._steps.is_continued or self._steps.count() >= freq

    def _begin(self, goes_on):
        """Begins a training that is not the one of the call before."""
        self._errors.begin()
        self._epoch_log.begin()
        known = {}
        if self._event_files is not None:
            with self._errors.handled("reading"):
                known = self._event_files.begin(goes_on)
        prefix = f"{self.name}/"
        known = {tag.removeprefix(prefix): x for tag, x in known.items()}
        self._scale.begin(goes_on, known)
        if not goes_on and self._is_on():
            self._log(self._steps.step(BEFORE), untrained=True)

    # What.

    def _prepare(self):
        """Makes what depends on the model; raises if anything does not fit."""
        # Keras makes its own function anew after each `compile`, for the same reason.
        train_function = getattr(self.model, "train_function", None)
        model, made_for = self._made_for
        if model is self.model and train_function is made_for is not None:
            return
        explainer = SampleExplainer(self.model, self._chosen, self.layer, self.options)
        if self._hardest is not None:
            self._hardest.prepare(self.model)
        check_size(explainer.pictures, len(explainer.names))
        for label in range(explainer.classes or 0):
            name_of(label, self.label_map)
        masks = self._chosen.masks(explainer.pictures.shape[:3])
        if self._event_files is not None:
            self._event_files.make_directory()
            self._event_files.description = self._description(explainer.cam)
        drawer = PanelDrawer(
            self.name,
            explainer.cam.layer,
            Captions(self.label_map, explainer.reading),
            self._scale,
            masks,
            signed=self.options.get("activation", "relu") != "relu",
            grid=self.grid,
        )
        metrics = HeatmapMetrics(explainer.names, masks)
        earlier, self._epoch_log = (
            self._epoch_log,
            EpochLog(
                explainer, metrics, drawer, self._hardest, self._sinks, self._errors
            ),
        )
        if earlier is not None:
            self._epoch_log.follow(earlier)
        self._made_for = self.model, train_function

    def _description(self, cam):
        target = "pred" if self.target is None else self.target
        if isinstance(self._chosen.target, np.ndarray):
            target = "a class for each sample"
        target = getattr(target, "__name__", target)
        return (
            f"Method `{cam.method}`, target `{target}`, scale `{self.scale}`. From "
            "left to right: the input, then for each layer its heatmap and the heatmap "
            "over the input. Step -1 is the model before the training. TensorBoard "
            "shows 10 of the steps; start it with `--samples_per_plugin images=1000` "
            "for all of them."
        )

    def _log(self, step, logs=None, draw=True, measure=True, untrained=False):
        if draw:
            self._last_drawn = step
        self._numbers = self._epoch_log.enter(step, draw, measure, untrained)
        self._is_measured = measure
        self._note(logs)

    def _note(self, logs):
        """Adds the numbers to `logs`, always the same keys: a CSV file relies on it."""
        if logs is None:
            return
        numbers = {f"{self.name}_{key}": x for key, x in self._numbers.items()}
        if numbers.keys() & logs.keys():
            self._errors.warn(
                f"Two `GradCAMCallback`s have the name {self.name!r}, and the numbers "
                "of the first one are lost. Give one of them another `name`."
            )
        logs.update({key: np.nan if x is None else x for key, x in numbers.items()})

    # Checks.

    def _check(self):
        """Finds what is wrong already without a model."""
        for label in self._chosen.labels:
            for each in classes_in(label):
                name_of(each, self.label_map)
        pictures = self._chosen.pictures()
        if pictures is not None:
            check_size(pictures)
            self._chosen.masks(pictures.shape[:3])
        if self._hardest is not None:
            self._hardest.check_target(self._chosen.target)
