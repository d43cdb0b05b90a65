"""Large jobs: what is written, resumed, shared out, skipped and read back."""

import csv
import functools
import io
import itertools
import json
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from conftest import ROOT, TESTS, make_classifier, randomize

import keras_gradcam as kg
from keras_gradcam.jobs import explainer, fingerprints, shards
from keras_gradcam.jobs.explainer import Explainer
from keras_gradcam.jobs.explanations import Explanation, Failure

L = keras.layers

COUNT = 37

job = functools.partial(kg.explain_dataset, batch_size=4, shard_size=10, verbose=0)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(3).random((COUNT, 16, 12, 3), dtype="float32")


@pytest.fixture(scope="module")
def cam():
    return kg.GradCAM(make_classifier())


def _dataset(x, *others):
    return tf.data.Dataset.from_tensor_slices((x, *others) if others else x)


def _heatmaps(out_dir, **options):
    rows = list(kg.read_explanations(out_dir, **options))
    return np.stack([row["heatmap"] for row in rows])


def _bytes(folder):
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def _index(folder):
    rows = []
    for path in sorted(pathlib.Path(folder).glob("*.csv")):
        rows += list(
            csv.DictReader(io.StringIO(path.read_bytes().decode(), newline=""))
        )
    return rows


def _raises(error, text, function):
    with pytest.raises(error) as caught:
        function()
    assert text in " ".join(str(caught.value).split())


# What is written.


@pytest.mark.parametrize("format", shards.FORMATS)
@pytest.mark.parametrize("batch", [None, 7])
def test_the_maps_are_those_of_predict(cam, x, tmp_path, format, batch):
    dataset = _dataset(x)
    dataset = dataset if batch is None else dataset.batch(batch)
    summary = job(cam, dataset, tmp_path, format=format)
    assert summary == (COUNT, 0)
    rows = list(kg.read_explanations(tmp_path))
    expected = cam.predict(x, verbose=0)
    np.testing.assert_allclose(
        np.stack([row["heatmap"] for row in rows]), expected, atol=1e-6
    )
    assert [int(row["position"]) for row in rows] == list(range(COUNT))
    outputs = cam.model.predict(x, verbose=0)
    assert [int(row["class"]) for row in rows] == outputs.argmax(1).tolist()
    # Logits: their softmax is what the model returns, up to a shift.
    logits = np.array([float(row["score"]) for row in rows])
    head = keras.Model(cam.model.inputs, cam.model.layers[-2].output)
    weights, bias = cam.model.layers[-1].get_weights()
    np.testing.assert_allclose(
        logits, (head.predict(x, verbose=0) @ weights + bias).max(1), rtol=1e-4
    )


@pytest.mark.parametrize("format", shards.FORMATS)
def test_files_and_classes_are_in_the_index_and_in_the_rows(cam, x, tmp_path, format):
    names = [f'früh/{n}, "a".png' for n in range(COUNT)]
    labels = np.arange(COUNT) % 4
    true = kg.GradCAM(cam.model, target="true")
    dataset = _dataset(x, labels, names).batch(6)
    job(true, dataset, tmp_path / "named", format=format)
    job(true, _dataset(x, labels), tmp_path / "files", files=names, format=format)
    for folder in ("named", "files"):
        rows = list(kg.read_explanations(tmp_path / folder))
        assert [row["file"].numpy().decode() for row in rows] == names
        assert [int(row["class"]) for row in rows] == labels.tolist()
        index = _index(tmp_path / folder)
        assert [row["file"] for row in index] == names
        assert [int(row["class"]) for row in index] == labels.tolist()
        scores = [np.float32(row["score"]) for row in index]
        assert scores == [row["score"].numpy() for row in rows]
    expected = kg.GradCAM(cam.model)(x, target=labels)
    np.testing.assert_allclose(_heatmaps(tmp_path / "named"), expected, atol=1e-6)


@pytest.mark.parametrize("format", shards.FORMATS)
@pytest.mark.parametrize("dtype", [None, "float32", "float16", "uint8"])
@pytest.mark.parametrize("resize", [True, False])
def test_types_and_sizes_are_those_of_the_cam(x, tmp_path, format, dtype, resize):
    model = make_classifier()
    cam = kg.GradCAM(model, resize=resize, output_dtype=dtype)
    job(cam, _dataset(x[:9]), tmp_path, format=format)
    dataset = kg.read_explanations(tmp_path)
    spec = dataset.element_spec["heatmap"]
    assert spec.shape == ((16, 12) if resize else (12, 8))
    assert spec.dtype == (dtype or "float32")
    np.testing.assert_array_equal(_heatmaps(tmp_path), cam(x[:9]))
    found = next(iter(dataset.batch(9)))
    assert found["heatmap"].shape == (9, *spec.shape)


@pytest.mark.parametrize("format", shards.FORMATS)
def test_several_scores_have_several_maps(cam, x, tmp_path, format):
    several = kg.GradCAM(cam.model, target=kg.targets.top_k(2))
    job(several, _dataset(x[:5]), tmp_path, format=format)
    rows = list(kg.read_explanations(tmp_path))
    assert rows[0]["heatmap"].shape == (2, 16, 12)
    assert rows[0]["score"].shape == (2,)
    assert int(rows[0]["class"]) == -1
    assert _index(tmp_path)[0]["class"] == ""
    np.testing.assert_allclose(_heatmaps(tmp_path), several(x[:5]), atol=1e-6)


def test_tfrecords_need_nothing_of_ours_to_be_read(cam, x, tmp_path):
    job(cam, _dataset(x), tmp_path)
    records = tf.data.TFRecordDataset(str(tmp_path / "shard-00001.tfrecord"))
    example = tf.train.Example.FromString(next(iter(records)).numpy())
    feature = example.features.feature
    (raw,) = feature["heatmap"].bytes_list.value
    shape = feature["shape"].int64_list.value
    heatmap = np.frombuffer(raw, "<f4").reshape(shape)
    np.testing.assert_allclose(heatmap, cam(x[10:11])[0], atol=1e-6)
    assert feature["position"].int64_list.value == [10]


def test_arrays_fit_their_index(cam, x, tmp_path):
    broken = x.copy()
    broken[[3, 12]] = np.nan
    with pytest.warns(UserWarning, match="2 of 37 images could not be explained"):
        job(cam, _dataset(broken), tmp_path, format="npy")
    for number in range(4):
        heatmaps = np.load(tmp_path / f"shard-{number:05d}.npy")
        rows = list(
            csv.DictReader(
                io.StringIO((tmp_path / f"shard-{number:05d}.csv").read_text())
            )
        )
        sound = [int(row["position"]) for row in rows if not row["error"]]
        np.testing.assert_allclose(heatmaps, cam(x[sound]), atol=1e-6)


@pytest.mark.parametrize("format", shards.FORMATS)
def test_images_of_any_size(x, tmp_path, format):
    layers = [L.Conv2D(3, 3), L.GlobalAveragePooling2D(), L.Dense(3)]
    model = randomize(keras.Sequential([keras.Input((None, None, 3)), *layers]))
    images = [x[0], x[1, :9], x[2], x[3, :, :9], x[4]]

    def elements():
        yield from images

    spec = tf.TensorSpec((None, None, 3))
    dataset = tf.data.Dataset.from_generator(elements, output_signature=spec)
    cam = kg.GradCAM(model)
    if format == "npy":
        _raises(
            ValueError,
            "needs heatmaps of one shape",
            lambda: job(cam, dataset, tmp_path, format=format),
        )
        return
    job(cam, dataset, tmp_path)
    for row, image in zip(kg.read_explanations(tmp_path), images, strict=True):
        np.testing.assert_allclose(row["heatmap"], cam(image[None])[0], atol=1e-6)


class Undeclared(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = make_classifier()

    def call(self, x):
        return self.inner(x)


def test_a_subclassed_model(x, tmp_path):
    model = Undeclared()
    job(kg.GradCAM(model), _dataset(x), tmp_path)
    expected = kg.GradCAM(model).predict(x, verbose=0)
    np.testing.assert_allclose(_heatmaps(tmp_path), expected, atol=1e-6)


def test_several_inputs(tmp_path):
    inputs = {"a": keras.Input((8, 8, 3), name="a"), "b": keras.Input((2,), name="b")}
    grid = L.Conv2D(3, 3)(inputs["a"])
    joined = L.Concatenate()([L.GlobalAveragePooling2D()(grid), inputs["b"]])
    model = randomize(keras.Model(inputs, L.Dense(3)(joined)))
    rng = np.random.default_rng(0)
    x = {"a": rng.random((5, 8, 8, 3), "float32"), "b": rng.random((5, 2), "float32")}
    cam = kg.GradCAM(model, activation=None)
    job(cam, tf.data.Dataset.from_tensor_slices(x), tmp_path)
    np.testing.assert_allclose(_heatmaps(tmp_path), cam(x), atol=1e-6)


def test_xla_compiles_once_and_pads_the_rest(x, tmp_path):
    cam = kg.GradCAM(make_classifier(), jit_compile=True)
    sizes = []
    explanations = cam.explanations
    cam.explanations = lambda images, target: (
        sizes.append(len(images)) or explanations(images, target)
    )
    job(cam, _dataset(x[:11]), tmp_path)
    assert sizes == [4, 4, 4, 4]
    expected = kg.GradCAM(cam.model)(x[:11])
    np.testing.assert_allclose(_heatmaps(tmp_path), expected, atol=1e-5)
    # Also where a part of the job has no full batch.
    before = _bytes(tmp_path)
    (tmp_path / "shard-00001.csv").unlink()
    job(kg.GradCAM(cam.model, jit_compile=True), _dataset(x[:11]), tmp_path)
    assert _bytes(tmp_path) == before


# Files.


@pytest.fixture
def pictures(tmp_path, x):
    paths = []
    for n in range(12):
        path = tmp_path / f"pictures/{n:02d}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray((255 * x[n]).astype("uint8")).save(path)
        paths.append(path)
    return paths


def test_files_are_read_at_the_size_of_the_model(cam, pictures, tmp_path):
    PIL.Image.open(pictures[4]).resize((31, 33)).save(pictures[4])
    job(cam, pictures, tmp_path / "out")
    images = np.stack([kg.load_image(path, (16, 12)) for path in pictures])
    np.testing.assert_allclose(_heatmaps(tmp_path / "out"), cam(images), atol=1e-6)
    assert [row["file"] for row in _index(tmp_path / "out")] == list(map(str, pictures))


def test_load_may_read_anything_and_bring_the_class(cam, x, tmp_path):
    files = []
    for n in range(COUNT):
        files.append(str(tmp_path / f"{n}.npy"))
        np.save(files[-1], x[n])

    def load(file):
        # The first is the last to be read.
        time.sleep(0.05 if file.endswith("/0.npy") else 0)
        return np.load(file), int(pathlib.Path(file).stem) % 4

    true = kg.GradCAM(cam.model, target="true")
    job(true, files, tmp_path / "out", load=load)
    expected = kg.GradCAM(cam.model)(x, target=np.arange(COUNT) % 4)
    np.testing.assert_allclose(_heatmaps(tmp_path / "out"), expected, atol=1e-6)


def test_a_bad_file_costs_no_other(cam, pictures, tmp_path):
    pictures[3].write_text("no picture")
    cut = pictures[8].read_bytes()
    pictures[8].write_bytes(cut[: len(cut) // 2])
    pictures.insert(5, tmp_path / "missing.png")
    with pytest.warns(UserWarning, match="3 of 13 images could not"):
        summary = job(cam, pictures, tmp_path / "out")
    assert summary == (10, 3)
    index = _index(tmp_path / "out")
    failed = {int(row["position"]): row["error"] for row in index if row["error"]}
    assert sorted(failed) == [3, 5, 9]
    assert "FileNotFoundError" in failed[5]
    assert all(row["file"] for row in index)
    good = [path for n, path in enumerate(pictures) if n not in failed]
    images = np.stack([kg.load_image(path, (16, 12)) for path in good])
    np.testing.assert_allclose(_heatmaps(tmp_path / "out"), cam(images), atol=1e-6)


# Bad images in a pipeline.


def _failing(x, bad):
    def image(n):
        wrong = tf.reduce_any(n == tf.constant(bad, tf.int64))
        with tf.control_dependencies([tf.debugging.Assert(~wrong, ["broken image"])]):
            return tf.gather(tf.constant(x), n)

    return tf.data.Dataset.range(len(x)).map(image)


def test_an_element_that_raises_costs_no_other(cam, x, tmp_path):
    names = [f"{n}.png" for n in range(COUNT)]
    with pytest.warns(UserWarning, match="3 of "):
        job(cam, _failing(x, [0, 9, 10]), tmp_path, files=names)
    index = _index(tmp_path)
    assert len(index) == COUNT
    failed = [row for row in index if row["error"]]
    assert [row["file"] for row in failed] == ["0.png", "9.png", "10.png"]
    assert all("broken image" in row["error"] for row in failed)
    good = np.delete(x, [0, 9, 10], axis=0)
    np.testing.assert_allclose(_heatmaps(tmp_path), cam(good), atol=1e-6)


@pytest.mark.parametrize("names", [None, [f"{n}.png" for n in range(COUNT)]])
def test_a_batch_that_raises_costs_all_of_it(cam, x, tmp_path, names):
    with pytest.warns(UserWarning, match="5 of 37 images"):
        job(cam, _failing(x, [9]).batch(5), tmp_path, files=names)
    index = _index(tmp_path)
    failed = [row for row in index if row["error"]]
    assert [int(row["position"]) for row in failed] == [5, 6, 7, 8, 9]
    assert all("the image or one of its batch" in row["error"] for row in failed)
    assert [row["file"] for row in index] == (names or [""] * COUNT)
    good = np.concatenate([x[:5], x[10:]])
    np.testing.assert_allclose(_heatmaps(tmp_path), cam(good), atol=1e-6)


def test_a_first_batch_that_raises_has_its_size_where_that_is_known(cam, x, tmp_path):
    with pytest.warns(UserWarning, match="5 of 35 images"):
        job(cam, _failing(x, [2]).batch(5, drop_remainder=True), tmp_path)
    np.testing.assert_allclose(_heatmaps(tmp_path), cam(x[5:35]), atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*images could not be explained")
def test_images_that_cannot_be_explained(cam, x, tmp_path):
    def elements():
        yield x[0], 0
        yield x[1][:5], 1  # Too small.
        yield x[2], 4  # There is no class 4.
        yield np.full_like(x[3], np.inf), 3
        yield x[4][..., :1], 0  # One channel.
        yield x[5], 1

    specs = tf.TensorSpec((None, None, None)), tf.TensorSpec((), tf.int32)
    dataset = tf.data.Dataset.from_generator(elements, output_signature=specs)
    true = kg.GradCAM(cam.model, target="true")
    assert job(true, dataset, tmp_path) == (2, 4)
    errors = [row["error"] for row in _index(tmp_path)]
    assert errors[0] == errors[5] == ""
    assert "shape (5, 12, 3), expected (16, 12, 3)" in errors[1]
    assert "range 0 to 3" in errors[2]
    assert "the image holds NaN or infinity" in errors[3]
    assert "shape (16, 12, 1)" in errors[4]
    expected = cam(x[[0, 5]], target=[0, 1])
    np.testing.assert_allclose(_heatmaps(tmp_path), expected, atol=1e-6)


def test_a_map_that_is_not_finite_is_a_failure(x):
    raw = {"normalize": None, "activation": None}
    model = make_classifier(convolution="linear")
    for options, value in [
        (raw, 1e38),
        ({"output_dtype": "uint8"}, 1e38),
        (raw | {"output_dtype": "float16"}, 1e6),  # Too much for half precision alone.
    ]:
        cam = kg.GradCAM(model, **options)
        good, bad = Explainer(cam)([x[0], np.full_like(x[0], value)])
        assert isinstance(good, Explanation)
        assert bad == Failure("the heatmap holds NaN or infinity")
    (good,) = Explainer(kg.GradCAM(model, **raw))([np.full_like(x[0], 1e6)])
    assert isinstance(good, Explanation)


def test_what_is_wrong_with_every_image_raises(x, tmp_path):
    model = Undeclared()
    _raises(
        ValueError,
        "range 0 to 3",
        lambda: job(kg.GradCAM(model, target=9), _dataset(x), tmp_path),
    )
    cam = kg.GradCAM(make_classifier())
    _raises(
        RuntimeError,
        "The last 3 images in a row could not be explained",
        lambda: job(cam, _dataset(np.full_like(x[:3], np.nan)), tmp_path / "few"),
    )
    assert not (tmp_path / "few/finished.json").exists()


def test_the_first_image_may_be_the_bad_one(x, tmp_path):
    def elements():
        yield x[0][:, :, :2]
        yield from x[1:5]

    spec = tf.TensorSpec((16, 12, None))
    dataset = tf.data.Dataset.from_generator(elements, output_signature=spec)
    with pytest.warns(UserWarning, match="1 of 5"):
        job(kg.GradCAM(Undeclared()), dataset, tmp_path)


@pytest.mark.parametrize("shard_size", [10, 100])
@pytest.mark.parametrize("start", [0, 73])
def test_an_outage_is_no_fault_of_the_images(x, tmp_path, shard_size, start):
    """They are tried again."""
    reachable = False

    def load(file):
        if int(file) >= start and not reachable:
            raise OSError("the disk is gone")
        return x[int(file) % COUNT]

    cam = kg.GradCAM(make_classifier())
    files = [str(n) for n in range(150)]
    run = functools.partial(
        job, cam, files, tmp_path, load=load, shard_size=shard_size, max_failures=40
    )
    _raises(RuntimeError, "The last 40 images in a row", run)
    assert not [row for row in _index(tmp_path) if int(row["position"]) > start]
    reachable = True
    summary = run()
    assert summary.failed == 0
    rows = list(kg.read_explanations(tmp_path))
    assert [int(row["position"]) for row in rows] == list(range(150))


def test_any_number_may_fail_where_that_is_meant(x, tmp_path):
    cam = kg.GradCAM(make_classifier())
    broken = np.full((200, *x.shape[1:]), np.nan, "float32")
    broken[-1] = x[0]
    with pytest.warns(UserWarning, match="199 of 200"):
        job(cam, _dataset(broken), tmp_path, max_failures=None)


def test_failed_images_are_tried_again_on_demand(cam, pictures, tmp_path):
    whole = pictures[3].read_bytes()
    pictures[3].write_text("no picture")
    with pytest.warns(UserWarning, match="1 of 12 images"):
        job(cam, pictures, tmp_path / "out")
    pictures[3].write_bytes(whole)
    assert job(cam, pictures, tmp_path / "out") == (0, 0)
    assert job(cam, pictures, tmp_path / "out", retry_failed=True) == (10, 0)
    images = np.stack([kg.load_image(path, (16, 12)) for path in pictures])
    np.testing.assert_allclose(_heatmaps(tmp_path / "out"), cam(images), atol=1e-6)


def _records(x, path):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in x:
            writer.write(image.tobytes())


def _parsed(*paths):
    records = tf.data.TFRecordDataset(list(map(str, paths)))
    return records.map(
        lambda record: tf.reshape(tf.io.decode_raw(record, "float32"), (16, 12, 3))
    )


def test_a_pipeline_that_cannot_be_read_on_raises(cam, x, tmp_path):
    """Such as a file that is missing for a while: its iterator only raises."""
    _records(x[:20], tmp_path / "a")
    _records(x[20:], tmp_path / "b")
    out = tmp_path / "out"
    parts = [tmp_path / "a", tmp_path / "b"]
    parts[1].rename(tmp_path / "away")
    _raises(RuntimeError, "No such file", lambda: job(cam, _parsed(*parts), out))
    assert len(list(out.glob("*.csv"))) == 2
    (tmp_path / "away").rename(parts[1])
    job(cam, _parsed(*parts), out)
    np.testing.assert_allclose(_heatmaps(out), cam(x), atol=1e-6)


def test_a_damaged_record_raises(cam, x, tmp_path):
    _records(x, tmp_path / "a")
    damaged = bytearray((tmp_path / "a").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "a").write_bytes(damaged)
    with pytest.raises(tf.errors.DataLossError):
        job(cam, _parsed(tmp_path / "a"), tmp_path / "out")


def test_a_pipeline_that_ends_early_is_not_finished(cam, x, tmp_path):
    def elements(limit):
        for n, image in enumerate(x):
            if n == limit:
                raise OSError("gone")
            yield image

    def dataset(limit):
        return tf.data.Dataset.from_generator(
            lambda: elements(limit), output_signature=tf.TensorSpec((16, 12, 3))
        )

    known = tf.data.experimental.assert_cardinality(COUNT)
    for name, change in [("unknown", lambda d: d), ("known", lambda d: d.apply(known))]:
        out = tmp_path / name
        with pytest.raises((RuntimeError, tf.errors.OpError)):
            job(cam, change(dataset(25)), out)
        assert not (out / "finished.json").exists()
        job(cam, change(dataset(None)), out)
        np.testing.assert_allclose(_heatmaps(out), cam(x), atol=1e-6)
    # A last image that is broken, of a dataset that knows how many it has.
    with pytest.warns(UserWarning, match="1 of 37"):
        job(cam, _failing(x, [COUNT - 1]), tmp_path / "last")


# Kills, and going on.


@pytest.fixture(scope="module")
def unbroken(cam, x, tmp_path_factory):
    folders = {}
    for format in shards.FORMATS:
        folders[format] = tmp_path_factory.mktemp(format)
        job(cam, _dataset(x), folders[format], format=format)
    return folders


class Killed(BaseException):
    pass


@pytest.mark.parametrize("format", shards.FORMATS)
def test_killed_at_any_step_it_goes_on(cam, x, tmp_path, unbroken, monkeypatch, format):
    """Every writing and renaming of a file is the last thing that one run does."""
    expected = _bytes(unbroken[format])
    steps = itertools.count()
    kill_at = None

    def mortal(function):
        def call(*args, **kwargs):
            if next(steps) == kill_at:
                raise Killed
            return function(*args, **kwargs)

        return call

    # A write that is begun leaves a part of the file behind.
    monkeypatch.setattr(tf.io.gfile, "rename", mortal(tf.io.gfile.rename))
    monkeypatch.setattr(tf.io.gfile.GFile, "write", mortal(tf.io.gfile.GFile.write))
    monkeypatch.setattr(
        tf.io.TFRecordWriter, "write", mortal(tf.io.TFRecordWriter.write)
    )
    job(cam, _dataset(x), tmp_path / "counted", format=format)
    total = next(steps)
    assert total > 20
    for kill_at in range(0, total, 1 if format == "npy" else 3):
        folder = tmp_path / str(kill_at)
        steps = itertools.count()
        with pytest.raises(Killed):
            job(cam, _dataset(x), folder, format=format)
        kill_at = None
        job(cam, _dataset(x), folder, format=format)
        assert _bytes(folder) == expected


KILLED = """
import sys
sys.path[:0] = {paths!r}
import time
import numpy as np
from conftest import make_classifier
import keras_gradcam as kg

def load(file):
    time.sleep(0.05)
    return np.random.default_rng(int(file)).random((16, 12, 3), dtype="float32")

cam = kg.GradCAM(make_classifier())
print("ready", flush=True)
kg.explain_dataset(cam, list(map(str, range(800))), sys.argv[1], load=load,
    batch_size=8, shard_size=16, verbose=0)
"""


@pytest.mark.slow
def test_killed_by_the_system_ten_times_it_goes_on(tmp_path):
    code = KILLED.format(paths=[str(TESTS), str(ROOT)])

    def start(folder):
        command = [sys.executable, "-c", code, str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        return process

    rng = random.Random(0)
    done = 0
    for _ in range(10):
        process = start(tmp_path / "killed")
        wanted = done + rng.randint(0, 4)
        while not (done := len(list((tmp_path / "killed").glob("*.csv")))) >= wanted:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    # They hit the job on its way.
    assert 0 < done < 50
    for name in ("killed", "unbroken"):
        process = start(tmp_path / name)
        assert process.wait() == 0
        process.stdout.close()
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "unbroken")


def test_what_is_done_is_not_done_again(cam, x, tmp_path):
    read = []

    def load(file):
        read.append(int(file))
        if file == "25" and len(read) < 40:
            raise KeyboardInterrupt
        return x[int(file)]

    files = [str(n) for n in range(COUNT)]
    with pytest.raises(KeyboardInterrupt):
        job(cam, files, tmp_path, load=load)
    _raises(ValueError, "is not finished", lambda: kg.read_explanations(tmp_path))
    partial = _heatmaps(tmp_path, partial=True)
    np.testing.assert_allclose(partial, cam(x[:20]), atol=1e-6)
    read.clear()
    read.extend(range(-40, 0))
    assert job(cam, files, tmp_path, load=load) == (17, 0)
    assert sorted(read[40:]) == list(range(20, COUNT))
    np.testing.assert_allclose(_heatmaps(tmp_path), cam(x), atol=1e-6)
    assert job(cam, files, tmp_path, load=load) == (0, 0)


def test_a_shard_is_written_anew_where_its_index_is_deleted(cam, pictures, tmp_path):
    whole = pictures[3].read_bytes()
    pictures[3].write_text("no picture")
    with pytest.warns(UserWarning, match="1 of 12 images"):
        job(cam, pictures, tmp_path / "out")
    pictures[3].write_bytes(whole)
    (tmp_path / "out/shard-00000.csv").unlink()
    _raises(
        ValueError, "is not finished", lambda: kg.read_explanations(tmp_path / "out")
    )
    assert job(cam, pictures, tmp_path / "out") == (10, 0)
    images = np.stack([kg.load_image(path, (16, 12)) for path in pictures])
    np.testing.assert_allclose(_heatmaps(tmp_path / "out"), cam(images), atol=1e-6)


@pytest.mark.slow
def test_a_job_of_other_settings_is_not_mixed_in(x, tmp_path):
    model = make_classifier()
    names = [f"{n}" for n in range(COUNT)]
    run = functools.partial(job, out_dir=tmp_path, files=names)
    run(kg.GradCAM(model), _dataset(x))
    before = _bytes(tmp_path)
    for key, other in {
        "target": lambda: run(kg.GradCAM(model, target=1), _dataset(x)),
        **{
            key: lambda key=key, value=value: run(
                kg.GradCAM(model, **{key: value}), _dataset(x)
            )
            for key, value in {
                "method": "layercam",
                "activation": None,
                "normalize": "minmax",
                "reshape": _first_score,
                "smooth": "tta",
                "chunk_size": 7,
                "logits": False,
            }.items()
        },
        "fuse": lambda: run(
            kg.GradCAM(model, ["first", "last"], fuse="mean"), _dataset(x)
        ),
        "layer": lambda: run(kg.GradCAM(model, "first"), _dataset(x)),
        "resize": lambda: run(kg.GradCAM(model, resize=False), _dataset(x)),
        "output_dtype": lambda: run(
            kg.GradCAM(model, output_dtype="uint8"), _dataset(x)
        ),
        "images": lambda: run(kg.GradCAM(model), _dataset(x[:9]), files=names[:9]),
        "files": lambda: run(kg.GradCAM(model), _dataset(x), files=names[::-1]),
        "format": lambda: run(kg.GradCAM(model), _dataset(x), format="npy"),
        "shard_size": lambda: run(kg.GradCAM(model), _dataset(x), shard_size=12),
        "batch_size": lambda: run(kg.GradCAM(model), _dataset(x), batch_size=5),
        "weights": lambda: run(
            kg.GradCAM(randomize(make_classifier(), seed=5)), _dataset(x)
        ),
    }.items():
        _raises(ValueError, "holds a job of other settings, {", other)
        with pytest.raises(ValueError, match=f"'{key}'"):
            other()
        assert _bytes(tmp_path) == before
    run(kg.GradCAM(make_classifier()), _dataset(x))
    assert _bytes(tmp_path) == before


# Several workers.


@pytest.mark.parametrize("kind", ["files", "dataset"])
@pytest.mark.parametrize("num_workers", [2, 3, 5])
def test_workers_write_together_what_one_would(
    cam, x, tmp_path, unbroken, num_workers, kind
):
    read = {worker: [] for worker in range(num_workers)}
    for worker in reversed(range(num_workers)):
        assert not (tmp_path / "finished.json").exists()

        def load(file, worker=worker):
            read[worker].append(int(file))
            return x[int(file)]

        if kind == "files":
            data, options = [str(n) for n in range(COUNT)], {"load": load}
        else:
            data, options = _dataset(x), {}
        job(cam, data, tmp_path, worker=worker, num_workers=num_workers, **options)
    np.testing.assert_allclose(_heatmaps(tmp_path), cam(x), atol=1e-6)
    if kind == "files":
        # Each file belongs to one worker.
        assert sorted(sum(read.values(), [])) == list(range(COUNT))
        for worker, files in read.items():
            assert {n // 10 % num_workers for n in files} <= {worker}
    else:
        assert _bytes(tmp_path) == _bytes(unbroken["tfrecord"])


STRATEGY = """
import sys
sys.path[:0] = {paths!r}
import numpy as np, tensorflow as tf, keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * {devices})
import keras_gradcam as kg
from conftest import make_classifier

x = np.random.default_rng(3).random((37, 16, 12, 3), dtype="float32")
plain = kg.GradCAM(make_classifier())
strategy = tf.distribute.MirroredStrategy([f"CPU:{{n}}" for n in range({devices})])
with strategy.scope():
    cam = kg.GradCAM(make_classifier())
used = []
from keras_gradcam.gradcam import explanation_graph as graph
compute = graph.compute
def spied(model, config, *tensors):
    device = tf.constant(0).device  # Of a graph that no strategy runs: none.
    if device:
        used.append((config.part, int(device[-1])))
    return compute(model, config, *tensors)
graph.compute = spied
expected = plain.predict(x, verbose=0)
for data in (x, tf.data.Dataset.from_tensor_slices(x).batch(9)):
    for size in (5, 32) if data is x else (None,):
        found = cam.predict(data, batch_size=size, verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-6)
labels = np.arange(37) % 4
for batch_size in (3, 16, 37):
    out = f"{{sys.argv[1]}}/{{batch_size}}"
    dataset = tf.data.Dataset.from_tensor_slices((x, labels))
    kg.explain_dataset(cam, dataset, out, batch_size=batch_size, verbose=0)
    rows = list(kg.read_explanations(out))
    found = np.stack([row["heatmap"] for row in rows])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [int(r["position"]) for r in rows] == list(range(37))
with strategy.scope():
    true = kg.GradCAM(cam.model, target="true")
kg.explain_dataset(true, dataset, sys.argv[1] + "/true", verbose=0)
rows = list(kg.read_explanations(sys.argv[1] + "/true"))
found = np.stack([row["heatmap"] for row in rows])
np.testing.assert_allclose(found, plain(x, target=labels), atol=1e-6)
with strategy.scope():
    jitted = kg.GradCAM(cam.model, jit_compile=True)
kg.explain_dataset(jitted, dataset, sys.argv[1] + "/jitted", verbose=0)
rows = list(kg.read_explanations(sys.argv[1] + "/jitted"))
found = np.stack([row["heatmap"] for row in rows])
np.testing.assert_allclose(found, expected, atol=1e-6)
found = cam.explanations(x)
assert found["heatmaps"].shape == (37, 16, 12)
assert set(used) >= {{("explanations", n) for n in range({devices})}}, used
assert {{n for _, n in used}} == set(range({devices})), used
"""


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_all_devices_of_a_strategy_are_used(tmp_path, devices):
    """In a process of its own: devices are made once."""
    code = STRATEGY.format(paths=[str(TESTS), str(ROOT)], devices=devices)
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


# The progress bar.


def test_the_bar_tells_rate_and_time_left(cam, x, tmp_path, capsys):
    run = functools.partial(job, cam, verbose=1)
    for data, name in ((_dataset(x), "one"), (_dataset(x).batch(5), "batches")):
        run(data, tmp_path / name)
        out = capsys.readouterr().out
        assert "37/37" in out
        assert "images_per_s" in out
        assert out.endswith("\n")
        assert out.count("\n") == 1
    (tmp_path / "one/shard-00001.csv").unlink()
    run(_dataset(x), tmp_path / "one")
    assert "10/10" in capsys.readouterr().out
    job(cam, _dataset(x), tmp_path / "silent")
    assert capsys.readouterr().out == ""


# Errors.


def test_errors_say_what_is_wrong(cam, x, tmp_path):
    good = _dataset(x)
    run = functools.partial(job, cam, out_dir=tmp_path)
    files = ["a.png"]
    two_layers = kg.GradCAM(cam.model, ["first", "last"])
    gray = randomize(keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(2, 3)]))
    gray_cam = kg.GradCAM(gray, target=lambda y: y[:, 0, 0, 0])
    for error, text, function in [
        (TypeError, "must be a `GradCAM`", lambda: job(cam.model, good, tmp_path)),
        (ValueError, "one map of an image", lambda: job(two_layers, good, tmp_path)),
        (
            ValueError,
            "do not depend on the others",
            lambda: job(kg.GradCAM(cam.model, normalize="batch"), good, tmp_path),
        ),
        (
            ValueError,
            "a class for each image of one batch",
            lambda: job(kg.GradCAM(cam.model, target=[1, 2]), good, tmp_path),
        ),
        (TypeError, "`tf.data.Dataset`, or a list of files", lambda: run(x)),
        (TypeError, "or a list of files", lambda: run([x[0], x[1]])),
        (ValueError, "is endless", lambda: run(good.repeat())),
        (ValueError, "Argument `load` reads files", lambda: run(good, load=open)),
        (ValueError, "names the images of a", lambda: run(files, files=files)),
        (ValueError, "one name for each image", lambda: run(good, files=files)),
        (
            ValueError,
            "that the dataset names, too",
            lambda: run(_dataset(x, ["a"] * COUNT), files=files),
        ),
        (ValueError, "no RGB picture", lambda: job(gray_cam, files, tmp_path)),
        (ValueError, "`format` must be one of", lambda: run(good, format="npz")),
        (ValueError, "`batch_size` must be an int", lambda: run(good, batch_size=0)),
        (ValueError, "`shard_size` must be", lambda: run(good, shard_size=1.5)),
        (
            ValueError,
            "`worker` must be an int from 0 to 1",
            lambda: run(good, worker=2, num_workers=2),
        ),
        (
            ValueError,
            "a known number of axes",
            lambda: run(good.map(lambda x: tf.ensure_shape(_shapeless(x), None))),
        ),
    ]:
        _raises(error, text, function)
    # All of this is known before anything is written.
    assert not list(tmp_path.iterdir())


def _shapeless(x):
    return tf.numpy_function(lambda x: x, [x], tf.float32)


def test_missing_labels_and_wrong_numbers_of_names(cam, x, tmp_path):
    true = kg.GradCAM(cam.model, target="true")
    _raises(
        ValueError,
        "the data must bring labels",
        lambda: job(true, _dataset(x), tmp_path / "labels"),
    )
    for count in (COUNT - 2, COUNT + 2):
        names = [str(n) for n in range(count)]
        _raises(
            ValueError,
            "one name for each image",
            lambda names=names: job(
                cam, _dataset(x).batch(5), tmp_path / f"{len(names)}", files=names
            ),
        )


def test_reading_what_is_not_there(cam, x, tmp_path):
    _raises(FileNotFoundError, "no job.json", lambda: kg.read_explanations(tmp_path))
    for format in shards.FORMATS:
        job(cam, _dataset(x[:0]), tmp_path / format, format=format)
        _raises(
            ValueError,
            "has no heatmap",
            lambda format=format: kg.read_explanations(tmp_path / format),
        )


@pytest.mark.slow
def test_settings_are_the_same_in_every_process(cam, x, tmp_path):
    script = """
import functools, json, sys
sys.path[:0] = {paths!r}
import numpy as np, tensorflow as tf
from conftest import make_classifier
import keras_gradcam as kg

def pick(outputs, k):
    return outputs[:, k]

cam = kg.GradCAM(make_classifier(), target=functools.partial(pick, k=2), smooth="tta",
    activation=lambda x: x + {number})
x = tf.data.Dataset.from_tensors(np.ones((16, 12, 3), "float32"))
kg.explain_dataset(cam, x, sys.argv[1], verbose=0)
"""
    codes = [
        script.format(paths=[str(TESTS), str(ROOT)], number=number)
        for number in (1, 1, 2)
    ]
    done = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            check=False,
            capture_output=True,
        )
        for code in codes
    ]
    assert [one.returncode for one in done] == [0, 0, 1]
    assert b"holds a job of other settings, {'activation'" in done[2].stderr


def test_functions_differ_by_what_they_do():
    def made(number):
        return lambda y: y[:, number]

    different = [
        made(1),
        made(2),
        functools.partial(made, 1),
        functools.partial(made, number=1),
        _first_score,
        lambda y: y[:, 1],
        lambda y: y[:, 1] + 1,
        lambda y: y[:, 1] + sum(n for n in (1, 2)),
        kg.targets.segmentation(1, mask=np.zeros((99, 99))),
        kg.targets.segmentation(1, mask=np.eye(99)),
    ]
    different = [*different, kg.methods.scorecam(channels=3), kg.methods.scorecam()]
    assert len({str(fingerprints.told(one)) for one in different}) == len(different)
    assert fingerprints.told(made(1)) == fingerprints.told(made(1))
    assert not any(" at 0x" in str(fingerprints.told(one)) for one in different)


@pytest.mark.slow
def test_models_differ_by_what_they_are_and_not_by_their_names():
    def made(activation, layer=L.Conv2D):
        layers = [layer(2, 3, activation=activation), L.Flatten(), L.Dense(2)]
        return keras.Sequential([keras.Input((8, 8, 1)), *layers])

    assert fingerprints.of_model(made("relu")) == fingerprints.of_model(made("relu"))
    assert fingerprints.of_model(made("relu")) != fingerprints.of_model(made("tanh"))
    assert fingerprints.of_texts(["1", "11"]) != fingerprints.of_texts(["11", "1"])
    ones = np.ones(4)
    assert fingerprints.of_arrays([ones]) != fingerprints.of_arrays(
        [ones.reshape(2, 2)]
    )
    assert fingerprints.of_model(Undeclared()) == fingerprints.of_model(Undeclared())


def _first_score(outputs):
    return outputs[:, 0]


# What users meet.


def test_workers_that_start_at_once_do_not_disturb_each_other(x, tmp_path):
    files = [str(n) for n in range(8)]
    cams = [kg.GradCAM(make_classifier()) for _ in range(4)]
    for turn in range(3):
        errors = []

        def work(worker, turn=turn, errors=errors):
            try:
                job(
                    cams[worker],
                    files,
                    tmp_path / str(turn),
                    load=lambda file: x[int(file)],
                    shard_size=2,
                    worker=worker,
                    num_workers=4,
                )
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert _heatmaps(tmp_path / str(turn)).shape == (8, 16, 12)
        assert not list((tmp_path / str(turn)).glob("*.part"))


def test_parts_that_a_kill_left_behind_are_removed(cam, x, tmp_path):
    (tmp_path / "shard-00001.tfrecord.0123.part").write_text("a part")
    job(cam, _dataset(x), tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_odd_names_of_files(cam, x, tmp_path):
    names = ["a,b", 'c"d', "e\nf", "g\rh", "caf\udce9.png", " i ", ""]
    for format in shards.FORMATS:
        out = tmp_path / format
        job(cam, _dataset(x[:7]), out, files=names, format=format)
        found = [row["file"].numpy().decode() for row in kg.read_explanations(out)]
        assert found == [*names[:4], "caf\\xe9.png", *names[5:]]
        assert [row["file"] for row in _index(out)] == found


def test_odd_things_that_load_returns(x, tmp_path):
    def load(file):
        return {
            "array": x[0],
            "list": x[0].tolist(),
            "tensor": tf.constant(x[0]),
            "double": x[0].astype("float64"),
            "picture": PIL.Image.fromarray((255 * x[0]).astype("uint8")),
            "three": (x[0], 1, 2),
            "one": (x[0],),
            "none": None,
            "text": "text",
        }[file]

    files = ["array", "list", "tensor", "double", "picture"]
    cam = kg.GradCAM(make_classifier())
    with pytest.warns(UserWarning, match="4 of 9"):
        job(cam, [*files, "three", "one", "none", "text"], tmp_path, load=load)
    pixels = (255 * x[0]).astype("uint8").astype("float32")
    expected = cam(np.stack([x[0]] * 4 + [pixels]))
    np.testing.assert_allclose(_heatmaps(tmp_path), expected, atol=1e-5)


def test_an_image_without_a_label_is_one_failure(cam, x, tmp_path):
    true = kg.GradCAM(cam.model, target="true")

    def load(file):
        return x[0] if file == "2" else (x[0], 1)

    with pytest.warns(UserWarning, match="1 of 5"):
        job(true, [str(n) for n in range(5)], tmp_path, load=load)
    assert "no label" in _index(tmp_path)[2]["error"]


def test_labels_of_several_outputs_and_names_with_an_axis(cam, x, tmp_path):
    names = np.array([[f"{n}"] for n in range(COUNT)])
    labels = {"a": np.zeros(COUNT), "b": np.ones(COUNT)}
    job(cam, _dataset(x, labels, names).batch(5), tmp_path)
    rows = list(kg.read_explanations(tmp_path))
    assert [row["file"].numpy().decode() for row in rows] == names[:, 0].tolist()


def test_the_device_is_the_caller_s(cam, x, tmp_path, monkeypatch):
    threads = set()
    explanations = cam.explanations

    def spied(*args):
        threads.add(threading.get_ident())
        return explanations(*args)

    monkeypatch.setattr(cam, "explanations", spied, raising=False)
    job(cam, _dataset(x), tmp_path)
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize(
    "error", [tf.errors.ResourceExhaustedError, tf.errors.InternalError]
)
def test_errors_of_the_device_are_no_fault_of_the_images(cam, x, error, monkeypatch):
    def broken(images, target):
        raise error(None, None, "the device")

    explain = Explainer(cam)
    monkeypatch.setattr(cam, "explanations", broken, raising=False)
    with pytest.raises(error):
        explain(list(x[:3]))


def test_images_of_several_types_keep_their_values(cam, x):
    whole = (255 * x[1]).astype("uint8")
    first, second = Explainer(cam)([x[0], whole])
    np.testing.assert_allclose(first.heatmap, cam(x[:1])[0], atol=1e-6)
    np.testing.assert_allclose(second.heatmap, cam(whole[None])[0], atol=1e-6)


def test_rows_of_one_array_are_stacked_as_they_are_given(cam, x):
    whole = x[:4].copy()
    rows = list(whole)
    assert rows[0].base is whole
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [0, 0, 1, 2], [1, 2]):
        found = Explainer(cam)([rows[n] for n in order])
        expected = cam(x[order])
        np.testing.assert_allclose([r.heatmap for r in found], expected, atol=1e-6)
    found = Explainer(cam)(list(whole[:, ::-1]))
    expected = cam(whole[:, ::-1].copy())
    np.testing.assert_allclose([r.heatmap for r in found], expected, atol=1e-6)
    turned = [row.T for row in np.arange(18).reshape(2, 3, 3).copy()]
    np.testing.assert_array_equal(explainer._stacked(turned), np.stack(turned))


def test_labels_are_filled_up_for_xla_too(cam, x, tmp_path):
    labels = np.arange(9) % 4
    true = kg.GradCAM(cam.model, target="true", jit_compile=True)
    job(true, _dataset(x[:9], labels), tmp_path)
    expected = cam(x[:9], target=labels)
    np.testing.assert_allclose(_heatmaps(tmp_path), expected, atol=1e-5)


def test_a_dataset_of_unknown_length_may_end_with_a_shard(cam, x, tmp_path):
    job(cam, _dataset(x[:20]).batch(5), tmp_path)
    assert json.loads((tmp_path / "finished.json").read_text()) == {
        "images": 20,
        "shards": 2,
    }
    assert len(list(tmp_path.iterdir())) == 6


def test_another_file_system_and_a_slash_at_the_end(cam, x):
    for folder in ("ram://maps", "ram://more/"):
        job(cam, _dataset(x), folder, max_failures=None)
        assert job(cam, _dataset(x), folder) == (0, 0)
        np.testing.assert_allclose(_heatmaps(folder), cam(x), atol=1e-6)


def test_a_subclassed_model_goes_on_in_the_same_process(x, tmp_path):
    model = Undeclared()
    model(x[:1])
    cam = kg.GradCAM(model)
    job(cam, _dataset(x), tmp_path)
    (tmp_path / "shard-00001.csv").unlink()
    assert job(cam, _dataset(x), tmp_path) == (10, 0)


def test_a_finished_dataset_is_not_read_again(cam, x, tmp_path):
    job(cam, _dataset(x).batch(5), tmp_path)
    assert job(cam, _failing(x, list(range(COUNT))).batch(5), tmp_path) == (0, 0)


def test_shuffled_datasets_are_refused(cam, x, tmp_path):
    options = tf.data.Options()
    options.deterministic = False
    for dataset in (
        _dataset(x).shuffle(10),
        _dataset(x).shuffle(10).map(lambda x: x).batch(4).prefetch(1),
        _dataset(x).with_options(options),
    ):
        _raises(
            ValueError,
            "the same order each time",
            lambda dataset=dataset: job(cam, dataset, tmp_path),
        )
    once = _dataset(x).shuffle(10, seed=1, reshuffle_each_iteration=False)
    job(cam, once, tmp_path)


@pytest.mark.parametrize("count", [3, 4])
def test_too_few_names_raise_before_any_is_wrong(cam, x, tmp_path, count):
    names = list("abcd")[:count]
    _raises(
        ValueError,
        "one name for each image",
        lambda: job(cam, _dataset(x[:8]).batch(4), tmp_path, files=names, shard_size=2),
    )
    assert not (tmp_path / "finished.json").exists()


def test_a_string_is_no_list_of_names(cam, x, tmp_path):
    _raises(
        TypeError,
        "a list of files, by name",
        lambda: job(cam, _dataset(x), tmp_path, files="a" * COUNT),
    )


def test_arrays_and_generators_of_names(cam, pictures, tmp_path):
    expected = cam(np.stack([kg.load_image(path, (16, 12)) for path in pictures]))
    for n, files in enumerate((np.array(list(map(str, pictures))), iter(pictures))):
        job(cam, files, tmp_path / f"out{n}", shard_size=np.int64(5))
        np.testing.assert_allclose(_heatmaps(tmp_path / f"out{n}"), expected, atol=1e-6)


def test_signals_of_a_subclassed_model(tmp_path):
    class Signals(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [L.Conv1D(4, 3), L.GlobalAveragePooling1D(), L.Dense(3)]

        def call(self, x):
            for part in self.parts:
                x = part(x)
            return x

    x = np.random.default_rng(0).random((9, 20, 2), "float32")
    cam = kg.GradCAM(Signals())
    job(cam, _dataset(x).batch(4), tmp_path / "batches")
    # What it was called with is known now.
    job(cam, _dataset(x), tmp_path / "single")
    for name in ("batches", "single"):
        np.testing.assert_allclose(_heatmaps(tmp_path / name), cam(x), atol=1e-6)


def test_the_folder_of_the_user(cam, x, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    job(cam, _dataset(x[:3]), "~/maps [1]")
    assert (tmp_path / "maps [1]/finished.json").exists()
    assert _heatmaps("~/maps [1]").shape == (3, 16, 12)
    with pytest.raises(TypeError):
        job(cam, _dataset(x[:3]), None)


def test_an_empty_file_of_settings_is_none(cam, x, tmp_path):
    (tmp_path / "job.json").write_text("")
    job(cam, _dataset(x[:3]), tmp_path)
    assert _heatmaps(tmp_path).shape == (3, 16, 12)


def test_a_shard_whose_data_is_gone_is_written_again(cam, x, tmp_path):
    job(cam, _dataset(x), tmp_path)
    before = _bytes(tmp_path)
    (tmp_path / "shard-00002.tfrecord").unlink()
    (tmp_path / "shard-7.csv").write_text("a stranger")
    assert job(cam, _dataset(x), tmp_path) == (10, 0)
    (tmp_path / "shard-7.csv").unlink()
    assert _bytes(tmp_path) == before
