"""The training callback with everything else that a training may have."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TESTS, L
from trainings import Keeps, fit, make_data, make_trainable, steps_of, written

import keras_gradcam as kg
from keras_gradcam import metrics


@pytest.fixture
def data():
    return make_data()


def run(code, *args):
    """Runs code in a process of its own, which can import the tests' modules."""
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r})\n{code}"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )


def without(history):
    """A history without the numbers of the callback."""
    return {key: x for key, x in history.items() if not key.startswith("gradcam")}


EVERYTHING = {
    "target": "both",
    "layer": ["first", "last"],
    "samples": "random",
    "boxes": np.tile([2, 3, 9, 8], (40, 1)),
    "grid": True,
    "scale": "run",
    "hardest": make_data(),
}


@pytest.mark.parametrize(
    "options",
    [{}, {"update_freq": 1}, EVERYTHING],
    ids=["default", "batches", "everything"],
)
def test_training_is_bit_identical(data, tmp_path, options):
    plain = make_trainable()
    history = fit(plain, data, [], validation_data=data)
    watched = make_trainable()
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, **options)
    logged = fit(watched, data, [callback], validation_data=data)
    for a, b in zip(plain.variables, watched.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert history.history == without(logged.history)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("update_freq", ["epoch", "batch", 7])
def test_with_the_tensorboard_callback(data, tmp_path, order, update_freq):
    """It leaves a recording condition open that would swallow most epochs."""
    pytest.importorskip("tensorboard")

    def scalars(log_dir, *others):
        theirs = keras.callbacks.TensorBoard(log_dir, update_freq=update_freq)
        model = make_trainable()
        fit(model, data, [theirs, *others][::order], epochs=4, batch_size=8)
        runs = written(log_dir, "scalars")
        return {tag: x for tag, x in runs["train"].items() if "gradcam" not in tag}

    alone = scalars(tmp_path / "alone")
    ours = kg.GradCAMCallback(*data, log_dir=tmp_path / "both")
    assert scalars(tmp_path / "both", ours) == alone
    # Theirs may lose epochs, for the same reason.
    assert "epoch_loss" in alone or update_freq == 7
    assert steps_of(tmp_path / "both") == [-1, 0, 1, 2, 3]
    tags = set(written(tmp_path / "both", "scalars")["gradcam"])
    assert tags == {f"gradcam/{m}" for m in ("peak", "entropy", "empty", "drift")}


@pytest.mark.parametrize("order", [1, -1])
def test_with_averaged_weights(data, order):
    """Behind `SwapEMAWeights` the averaged weights are shown, ahead of it the raw."""
    weights = {}

    class Remembers(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights[epoch] = self.model.get_weights()

    kept = Keeps()
    optimizer = keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9)
    model = make_trainable(optimizer=optimizer)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    ours = kg.GradCAMCallback(*data, log_dir=None, sinks=[kept])
    fit(model, data, [swap, Remembers(), ours][::order], epochs=2)
    twin = make_trainable()
    twin.set_weights(weights[1])
    raw = kg.GradCAM(twin, normalize=None)(data[0][:8])
    peak = metrics.peak_strength(raw)
    assert kept.scalars[1]["gradcam/peak"] == pytest.approx(peak, rel=1e-4)
    averaged = model.optimizer._model_variables_moving_average
    assert len(averaged) == len(model.trainable_variables)


CRASH = """
import os, pathlib, sys
import keras
from trainings import fit, make_data, make_trainable
import keras_gradcam as kg

log_dir, order, crashes = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

class Crashes(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if crashes == "yes" and self.model.optimizer.iterations == 11:
            os._exit(9)

data = make_data()
callbacks = [
    kg.GradCAMCallback(*data, log_dir=log_dir),
    keras.callbacks.BackupAndRestore(log_dir / "backup"),
]
# 4 batches an epoch: it crashes in the middle of the third.
history = fit(
    make_trainable(),
    data,
    [*callbacks[::order], Crashes()],
    epochs=5,
    batch_size=10,
).history
print(history["gradcam_peak"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_a_crash_and_a_resumed_training(tmp_path, order):
    crashed = run(CRASH, tmp_path, order, "yes")
    assert crashed.returncode == 9, crashed.stderr
    assert steps_of(tmp_path) == [-1, 0, 1]
    resumed = run(CRASH, tmp_path, order, "no")
    assert resumed.returncode == 0, resumed.stderr
    # One run, each epoch once, and no picture "before training" in its middle.
    assert list(written(tmp_path)) == ["gradcam"]
    assert steps_of(tmp_path) == [-1, 0, 1, 2, 3, 4]
    peaks = written(tmp_path, "scalars")["gradcam"]["gradcam/peak"]
    np.testing.assert_allclose([peaks[n] for n in (2, 3, 4)], eval(resumed.stdout))


def test_with_steps_per_execution(data, tmp_path):
    model = make_trainable(steps_per_execution=3)
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, update_freq=4)
    # 10 batches an epoch, seen as 3, 6, 9, 10.
    fit(model, data, [callback], epochs=2, batch_size=4)
    assert steps_of(tmp_path) == [0, 6, 9, 13, 16, 20]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"target": "both"}])
def test_with_xla(data, tmp_path, options):
    model = make_trainable(jit_compile=True)
    callback = kg.GradCAMCallback(
        *data, log_dir=tmp_path, jit_compile=True, num_samples=2, **options
    )
    fit(model, data, [callback], epochs=2)
    assert steps_of(tmp_path) == [-1, 0, 1]


def test_with_a_train_step_of_ones_own(data, tmp_path):
    """One that has no optimizer and no loss of Keras', as a GAN's."""

    class Own(keras.Model):
        def __init__(self, model):
            super().__init__()
            self.model = model
            self.theirs = keras.optimizers.SGD(0.1)

        def call(self, x, training=False):
            return self.model(x, training=training)

        def train_step(self, batch):
            x, y = batch
            with tf.GradientTape() as tape:
                rows = keras.ops.one_hot(y, 4)
                loss = keras.ops.mean((self(x, training=True) - rows) ** 2)
            variables = self.trainable_variables
            self.theirs.apply_gradients(
                zip(tape.gradient(loss, variables), variables, strict=True)
            )
            return {"own_loss": loss}

    for options, steps in (({}, [-1, 0, 1]), ({"update_freq": 3}, [0, 3, 6, 8])):
        log_dir = tmp_path / str(len(options))
        model = Own(make_trainable())
        model.compile()
        callback = kg.GradCAMCallback(*data, log_dir=log_dir, **options)
        history = fit(model, data, [callback], epochs=2, batch_size=10).history
        tag = f"gradcam/{model.model.name}/last"
        assert steps_of(log_dir, tag=tag) == steps
        assert len(history["gradcam_peak"]) == 2
        fit(model, data, [callback], epochs=3, initial_epoch=2, batch_size=10)
        assert steps_of(log_dir, tag=tag) == steps + ([9, 12] if options else [2])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_with_mixed_precision(data, tmp_path, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = make_trainable()
        callback = kg.GradCAMCallback(*data, log_dir=tmp_path, target="both")
        history = fit(model, data, [callback], epochs=2).history
    finally:
        keras.config.set_dtype_policy(before)
    assert steps_of(tmp_path) == [-1, 0, 1]
    assert np.isfinite(history["gradcam_true_peak"]).all()
    assert min(history["gradcam_true_peak"]) > 0


MIRRORED = """
import pathlib, sys
import numpy as np
import tensorflow as tf

cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from trainings import fit, make_data, make_trainable, steps_of
import keras_gradcam as kg

data = make_data()
with strategy.scope():
    model = make_trainable()
callback = kg.GradCAMCallback(
    *data, log_dir=sys.argv[1], target="both", hardest=data, on_error="raise"
)
history = fit(model, data, [callback], epochs=3).history
assert steps_of(pathlib.Path(sys.argv[1])) == [-1, 0, 1, 2]
twin = make_trainable()
twin.set_weights(model.get_weights())
raw = kg.GradCAM(twin, normalize=None)(data[0][:8], target=data[1][:8])
np.testing.assert_allclose(
    history["gradcam_true_peak"][-1], kg.metrics.peak_strength(raw), rtol=1e-4
)

class NotTheChief:
    should_save_summary = False

model._distribute_strategy = type("Other", (), {"extended": NotTheChief})()
kept = []
keep = lambda *args: kept.append(args)
callback = kg.GradCAMCallback(*data, log_dir=None, sinks=keep)
callback.set_model(model)
callback.set_params({"epochs": 1})
logs = {}
callback.on_train_begin()
callback.on_epoch_begin(0)
callback.on_epoch_end(0, logs)
# It measures, or its early stopping would differ from the chief's, and writes nothing.
assert not kept and "gradcam_peak" in logs
"""


@pytest.mark.slow
def test_with_several_devices(tmp_path):
    done = run(MIRRORED, tmp_path)
    assert done.returncode == 0, done.stderr


def test_with_a_model_that_is_built_while_it_trains(data, tmp_path):
    class Late(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolution = L.Conv2D(4, 3, activation="relu", name="late")
            self.head = L.Dense(4, activation="softmax")

        def call(self, x):
            return self.head(keras.ops.mean(self.convolution(x), (1, 2)))

    def train(callbacks):
        keras.utils.set_random_seed(0)
        model = Late()
        model.compile("adam", "sparse_categorical_crossentropy")
        fit(model, data, callbacks)
        return model.get_weights()

    watched = train([kg.GradCAMCallback(*data, log_dir=tmp_path)])
    assert steps_of(tmp_path, tag="gradcam/late") == [-1, 0, 1, 2]
    for a, b in zip(train([]), watched, strict=True):
        np.testing.assert_array_equal(a, b)


def test_with_a_generator(data, tmp_path):
    def endless():
        while True:
            yield data[0][:10], data[1][:10]

    callback = kg.GradCAMCallback(*data, log_dir=tmp_path)
    make_trainable().fit(
        endless(),
        steps_per_epoch=2,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[callback],
    )
    assert steps_of(tmp_path) == [-1, 0, 1, 2]


def test_with_another_kind_of_data_in_each_call(data, tmp_path):
    """A curriculum of arrays, generators and datasets, of images of other sizes."""

    def endless():
        while True:
            yield data[0][:10], data[1][:10]

    larger = np.zeros((8, 20, 20, 3)), np.zeros(8)
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(10).repeat()

    def train(callbacks):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((None, None, 3)),
                L.Conv2D(4, 3, activation="relu", name="last"),
                L.GlobalAveragePooling2D(),
                L.Dropout(0.3),
                L.Dense(4, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        calls = [
            ((endless(),), {"steps_per_epoch": 2, "shuffle": False}),
            (data, {"class_weight": {0: 1, 1: 3, 2: 1, 3: 1}, "batch_size": 10}),
            (larger, {"validation_data": endless(), "validation_steps": 1}),
            ((dataset,), {"steps_per_epoch": 3, "shuffle": False}),
        ]
        histories = [
            model.fit(*given, verbose=0, callbacks=callbacks, **options).history
            for given, options in calls
        ]
        return model.get_weights(), histories

    plain, histories = train([])
    callback = kg.GradCAMCallback(
        dataset.take(4), samples="random", hardest=data, log_dir=tmp_path
    )
    watched, logged = train([callback])
    np.testing.assert_equal(watched, plain)
    assert [without(history) for history in logged] == histories
    assert steps_of(tmp_path) == [-1, 0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("update_freq", [None, 3])
def test_restored_in_the_same_process(data, tmp_path, update_freq):
    """Each step once, whether the epoch that failed is counted or its batches."""

    class Fails(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 10 and len(failed) < 1:
                failed.append(batch)
                raise RuntimeError("preempted")

    failed = []
    model = make_trainable()
    callbacks = [
        kg.GradCAMCallback(*data, log_dir=tmp_path, update_freq=update_freq),
        keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2),
        Fails(),
    ]
    with pytest.raises(RuntimeError, match="preempted"):
        fit(model, data, callbacks, epochs=4, batch_size=10)
    fit(model, data, callbacks, epochs=4, batch_size=10)
    assert list(written(tmp_path)) == ["gradcam"]
    if update_freq is None:
        assert steps_of(tmp_path) == [-1, 0, 1, 2, 3]
    else:
        steps = steps_of(tmp_path)
        assert steps == sorted(set(steps)) and steps[:4] == [0, 3, 6, 9]


def test_with_several_inputs(tmp_path):
    """The panel shows the input that the layer belongs to."""
    picture = keras.Input((16, 12, 3), name="picture")
    other = keras.Input((5,), name="table")
    x = L.Conv2D(4, 3, activation="relu", name="last")(picture)
    x = L.Concatenate()([L.GlobalAveragePooling2D()(x), other])
    model = keras.Model(
        {"table": other, "picture": picture}, L.Dense(4, activation="softmax")(x)
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    images, labels = make_data()
    inputs = {"table": np.ones((40, 5), "float32"), "picture": images}
    kept = Keeps()
    for data in (
        (inputs, labels),
        (tf.data.Dataset.from_tensor_slices((inputs, labels)), None),
    ):
        callback = kg.GradCAMCallback(*data, log_dir=None, sinks=[kept])
        model.fit(inputs, labels, verbose=0, callbacks=[callback])
        drawn = kept.panels[0]["gradcam/last"][3]
        expected = kg.to_uint8(images[3], value_range=(0, 1))
        np.testing.assert_array_equal(drawn[7:224:14, 7:168:14], expected)


@pytest.mark.slow
def test_works_without_the_tensorboard_package(tmp_path):
    code = """
sys.modules["tensorboard"] = None
from trainings import fit, make_data, make_trainable
import keras_gradcam as kg
data = make_data()
fit(make_trainable(), data, [kg.GradCAMCallback(*data, log_dir=sys.argv[1])])
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert steps_of(tmp_path) == [-1, 0, 1, 2]
    assert "gradcam/peak" in written(tmp_path, "scalars")["gradcam"]


MEMORY = """
import pathlib
import keras
from conftest import make_classifier
from trainings import make_data
import keras_gradcam as kg

resident = []

class Weighs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * 4096 / 2**20)

data = make_data(8)
model = make_classifier()
model.compile("sgd", "sparse_categorical_crossentropy")
callback = kg.GradCAMCallback(
    *data, log_dir=sys.argv[1], num_samples=3, grid=True, target="both"
)
model.fit(*data, epochs=200, verbose=0, callbacks=[callback, Weighs()])
print(max(resident[10:]) - resident[10])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_epochs(tmp_path):
    done = run(MEMORY, tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 20
    assert len(steps_of(tmp_path)) == 201
