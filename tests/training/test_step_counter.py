"""Which calls of `fit` are one training, and which step each epoch of them is."""

import keras
import numpy as np
import pytest
from conftest import L, make_classifier
from trainings import Keeps, fit, make_data, steps_of, written

import keras_gradcam as kg
from keras_gradcam.training.step_counter import StepCounter


@pytest.fixture
def data():
    return make_data(8)


def make_compiled():
    """A model that learns the same in one call of `fit` and in several."""
    model = make_classifier()
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def watch(data, log_dir, **options):
    return kg.GradCAMCallback(*data, log_dir=log_dir, num_samples=1, **options)


def runs_of(log_dir):
    """The steps of each run."""
    return {run: list(tags["gradcam/last"]) for run, tags in written(log_dir).items()}


# The steps, without a training.


def make_small():
    model = keras.Sequential([keras.Input((2,)), L.Dense(3), L.Dense(1)])
    # Whole numbers: what is added and taken away again leaves nothing behind.
    model.set_weights([np.round(9 * weight) for weight in model.get_weights()])
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def add(model, value):
    model.set_weights([weight + value for weight in model.get_weights()])


def train(counter, model, epochs, initial_epoch=0, ends=True):
    """Moves weights and optimizer as a call of `fit` would; returns the steps."""
    counter.begin(model, initial_epoch)
    steps = []
    for epoch in range(initial_epoch, epochs):
        add(model, 1)
        model.optimizer.iterations.assign_add(4)
        counter.end_epoch(epoch)
        steps.append(counter.step(epoch))
    if ends:
        counter.end()
    return steps


def test_a_new_training_counts_from_its_first_epoch():
    for first in (0, 7):
        counter = StepCounter(by_batches=False)
        assert train(counter, make_small(), first + 2, first) == [first, first + 1]
        assert (counter.is_continued, counter.is_resumed) == (False, first > 0)
        assert counter.count() == 2


@pytest.mark.parametrize(
    ("calls", "steps"),
    [
        # `(epochs, initial_epoch)` of each call.
        ([(1, 0)] * 3, [[0], [1], [2]]),
        ([(3, 0), (6, 3)], [[0, 1, 2], [3, 4, 5]]),
        ([(2, 0), (2, 0), (4, 2)], [[0, 1], [2, 3], [4, 5]]),
        # Trained without the callback in between.
        ([(2, 0), (7, 5)], [[0, 1], [5, 6]]),
        # Back to an earlier epoch, and on from there.
        ([(4, 0), (3, 1), (1, 0)], [[0, 1, 2, 3], [1, 2], [3]]),
    ],
)
def test_the_steps_of_several_calls(calls, steps):
    model, counter = make_small(), StepCounter(by_batches=False)
    assert [train(counter, model, *call) for call in calls] == steps
    assert counter.is_continued


def test_batches_are_counted_over_several_calls():
    model, counter = make_small(), StepCounter(by_batches=True)
    assert train(counter, model, 0) == []
    assert (counter.is_continued, counter.is_resumed, counter.step(-1)) == (0, 0, 0)
    for before in (0, 3):
        counter.begin(model, 0)
        assert counter.is_continued
        for n in range(before, before + 3):
            assert counter.end_batch() == (n, n + 1)
        assert counter.count() == 3
    # An optimizer of several batches at once; it is asked, whoever looks on.
    model.optimizer.iterations.assign(10)
    assert counter.end_batch() == (6, 10)
    another = StepCounter(by_batches=True)
    another.begin(model, 0)
    assert another.is_resumed
    assert another.step(0) == 10


def compile_anew(model):
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)


def exchange_a_part(model):
    """As where two models that share layers are trained in turn."""
    add(model.layers[0], 5)


def freeze_and_exchange_a_part(model):
    """As in a GAN, which is compiled again with each change of what is trained."""
    model.layers[0].trainable = False
    exchange_a_part(model)
    compile_anew(model)


def replace_what_is_trained(model):
    model.layers[0].trainable = False
    add(model.layers[1], 5)
    compile_anew(model)


def replace_all(model):
    add(model, 5)
    compile_anew(model)


def put_back(model):
    add(model, -2)


@pytest.mark.parametrize(
    ("change", "goes_on"),
    [
        (lambda model: None, True),
        (compile_anew, True),
        (exchange_a_part, True),
        (freeze_and_exchange_a_part, True),
        # Averaged, clipped or put back to the best ones.
        (lambda model: add(model, -0.5), True),
        (replace_all, False),
        (replace_what_is_trained, False),
        (put_back, False),
        (lambda model: (put_back(model), compile_anew(model)), False),
    ],
)
def test_what_makes_a_training_a_new_one(change, goes_on):
    model, counter = make_small(), StepCounter(by_batches=False)
    assert train(counter, model, 2) == [0, 1]
    change(model)
    assert train(counter, model, 1) == [2 if goes_on else 0]
    assert counter.is_continued == goes_on
    assert not counter.is_resumed
    # Whatever has changed: a user who names the epoch means it.
    change(model)
    assert train(counter, model, 6, 5) == [5]
    assert counter.is_continued


def test_weights_that_do_not_move_go_on():
    """Neither a learning rate of 0 nor NaN makes a new training of each call."""
    for value in (1, np.nan):
        model, counter = make_small(), StepCounter(by_batches=False)
        model.set_weights([value * weight for weight in model.get_weights()])
        for _ in range(2):
            compile_anew(model)
            counter.begin(model, 0)
            model.optimizer.iterations.assign_add(4)
            counter.end_epoch(0)
            counter.end()
        assert counter.is_continued
        assert counter.step(0) == 1


@pytest.mark.parametrize(
    ("change", "goes_on"),
    [(lambda model: add(model, 0.5), True), (put_back, False), (replace_all, False)],
)
def test_after_an_interruption(change, goes_on):
    model, counter = make_small(), StepCounter(by_batches=False)
    train(counter, model, 2, ends=False)
    change(model)
    assert train(counter, model, 1) == [2 if goes_on else 0]


def test_every_weight_is_looked_at():
    """What differs from the first weights in one of many is not put back."""
    model, counter = make_small(), StepCounter(by_batches=False)
    first = model.get_weights()
    train(counter, model, 1)
    model.set_weights([*first[:-1], first[-1] + 1])
    assert train(counter, model, 1) == [1]
    model.set_weights(first)
    assert train(counter, model, 1) == [0]


# With the callback.


def test_several_calls_write_what_one_call_writes(data, tmp_path):
    """The same pictures and numbers at the same steps, in one run."""
    calls = {
        "one": [{"epochs": 3}],
        "loop": [{"epochs": 1}] * 3,
        "resumed": [{"epochs": 1}, {"epochs": 3, "initial_epoch": 1}],
    }
    for name, each in calls.items():
        model, callback = make_compiled(), watch(data, tmp_path / name, scale="run")
        for call in each:
            fit(model, data, [callback], shuffle=False, **call)
    for plugin in ("images", "scalars"):
        one, *several = (written(tmp_path / name, plugin) for name in calls)
        for written_too in several:
            np.testing.assert_equal(written_too, one)
    assert runs_of(tmp_path / "loop") == {"gradcam": [-1, 0, 1, 2]}


def test_freq_counts_over_all_calls(data, tmp_path):
    model, callback = make_compiled(), watch(data, tmp_path, freq=3)
    histories = [fit(model, data, [callback], epochs=1).history for _ in range(5)]
    # The last one of the training is not known, as it would be in one call.
    assert runs_of(tmp_path) == {"gradcam": [-1, 0, 3]}
    assert all(np.isfinite(history["gradcam_drift"]).all() for history in histories)
    fit(model, data, [callback], epochs=3)
    assert runs_of(tmp_path) == {"gradcam": [-1, 0, 3, 6, 7]}


def test_update_freq_counts_over_all_calls(data, tmp_path):
    model, callback = make_compiled(), watch(data, tmp_path, update_freq=3)
    for _ in range(4):  # 2 batches each.
        fit(model, data, [callback], epochs=1, batch_size=4)
    assert runs_of(tmp_path) == {"gradcam": [0, 2, 3, 6]}
    steps = steps_of(tmp_path, tag="gradcam/peak", plugin="scalars")
    assert steps == [0, 2, 3, 6, 8]


def test_folds_have_a_run_each(data, tmp_path):
    """With a model for each fold, and with one that is put back."""
    callback = watch(data, tmp_path / "models")
    for _ in range(2):
        fit(make_compiled(), data, [callback], epochs=2)
    model, callback = make_compiled(), watch(data, tmp_path / "weights")
    first = model.get_weights()
    for _ in range(2):
        model.set_weights(first)
        fit(model, data, [callback], epochs=2)
    for name in ("models", "weights"):
        runs = ("gradcam", "gradcam-2")
        assert runs_of(tmp_path / name) == dict.fromkeys(runs, [-1, 0, 1])
        # The first maps of a fold have not drifted from the last ones of another.
        for run in runs:
            curves = written(tmp_path / name, "scalars")[run]
            assert list(curves["gradcam/drift"]) == [0, 1]


def test_compiled_anew_a_training_goes_on(data, tmp_path):
    """As in fine-tuning; what the maps have drifted from is still known."""
    model, callback = make_compiled(), watch(data, tmp_path)
    fit(model, data, [callback], epochs=1)
    model.get_layer("first").trainable = False
    model.compile("sgd", model.loss)
    fit(model, data, [callback], epochs=1)
    assert runs_of(tmp_path) == {"gradcam": [-1, 0, 1]}
    assert list(written(tmp_path, "scalars")["gradcam"]["gradcam/drift"]) == [0, 1]
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.compile("sgd", model.loss)
    fit(model, data, [callback], epochs=1)
    assert runs_of(tmp_path)["gradcam-2"] == [-1, 0]


@pytest.mark.parametrize("scale", ["sample", "run"])
def test_an_interrupted_training_goes_on(data, tmp_path, scale):
    class Interrupts(keras.callbacks.Callback):
        at = None

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.at:
                raise KeyboardInterrupt

    interrupts = Interrupts()
    model, callback = make_compiled(), watch(data, tmp_path, scale=scale)
    for interrupts.at in (0, 2, 1):
        with pytest.raises(KeyboardInterrupt):
            fit(model, data, [callback, interrupts], epochs=5)
    model.compile("sgd", model.loss)
    fit(model, data, [callback], epochs=5, initial_epoch=3)
    assert runs_of(tmp_path) == {"gradcam": [-1, 0, 1, 2, 3, 4]}


def test_what_waits_for_a_scale_outlives_compile(data):
    kept = Keeps()
    model, callback = make_compiled(), watch(data, None, scale="run", sinks=kept)

    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, data, [callback, Interrupts()])
    model.compile("sgd", model.loss)
    fit(model, data, [callback], epochs=1)
    assert list(kept.panels) == [-1, 0]


def test_two_callbacks_count_each_for_itself(data, tmp_path):
    model = make_compiled()
    both = [watch(data, tmp_path, name=name) for name in ("a", "b")]
    fit(model, data, both[:1], epochs=1)
    for _ in range(2):
        fit(model, data, both, epochs=1)
    runs = {run: list(next(iter(t.values()))) for run, t in written(tmp_path).items()}
    assert runs == {"a": [-1, 0, 1, 2], "b": [-1, 0, 1]}


def test_a_loop_warns_once(data):
    def offline(step, panels, scalars):
        raise ConnectionError

    model, callback = make_compiled(), watch(data, None, sinks=offline)
    with pytest.warns(UserWarning, match="ConnectionError") as warned:
        for _ in range(3):
            fit(model, data, [callback], epochs=1)
    assert len([w for w in warned if "ConnectionError" in str(w.message)]) == 1
    # Others have been there, but not this training.
    with pytest.warns(UserWarning, match="ConnectionError"):
        fit(make_compiled(), data, [callback], epochs=1)


def test_another_training_in_the_same_directory_is_not_continued(data, tmp_path):
    """A callback that has not written yet does not take the last run for its own."""
    fit(make_compiled(), data, [watch(data, tmp_path)], epochs=1)

    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model, callback = make_compiled(), watch(data, tmp_path, scale="run")
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, [callback, Interrupts()])
    fit(model, data, [callback], epochs=2)
    assert runs_of(tmp_path) == {"gradcam": [-1, 0], "gradcam-2": [-1, 0, 1]}
