"""Beam: what comes out equals the plain maps, and what fails is told by its name."""

import gzip
import os
import pathlib
import pickle
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time

import keras
import numpy as np
import pytest
from conftest import ROOT, L, make_classifier
from PIL import Image

import keras_gradcam as kg

beam = pytest.importorskip("apache_beam")

from apache_beam.internal import pickler  # noqa: E402
from apache_beam.io.fileio import MatchFiles, ReadableFile, ReadMatches  # noqa: E402
from apache_beam.io.filesystem import FileMetadata  # noqa: E402
from apache_beam.io.localfilesystem import LocalFileSystem  # noqa: E402
from apache_beam.ml.inference.base import RunInference  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402

from keras_gradcam.jobs.beam import (  # noqa: E402
    ExplainImages,
    GradCAMModelHandler,
    _Explainer,
)
from keras_gradcam.jobs.explanations import Explanation  # noqa: E402

SIZE = (16, 12)
# The direct runner's own engine: without a name the runner is one that is downloaded.
RUNNER = "FnApiRunner"
THREADS = {"direct_num_workers": 2, "direct_running_mode": "multi_threading"}
PROCESSES = {"direct_num_workers": 2, "direct_running_mode": "multi_processing"}


@pytest.fixture
def saved(model, tmp_path):
    return _save(kg.GradCAM(model), tmp_path)


def _save(cam, folder):
    cam.save(folder / "cam.keras")
    return str(folder / "cam.keras")


@pytest.fixture
def files(tmp_path):
    """Eleven pictures, some of another size than the model takes."""
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    paths = []
    for n in range(11):
        size = SIZE if n % 3 else (30, 20)
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        paths.append(str(tmp_path / "pictures" / f"ä ß {n}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths


def plain(cam, files):
    """What the package gives without Beam: by file, the heatmap, class and score."""
    images = np.stack([kg.load_image(file, SIZE) for file in files])
    heatmaps = cam.predict(images, verbose=0)
    head = cam.model.layers[-1]
    features = keras.Model(cam.model.inputs, head.input).predict(images, verbose=0)
    logits = features @ head.kernel.numpy() + head.bias.numpy()
    rows = zip(heatmaps, np.argmax(logits, -1), np.max(logits, -1), strict=True)
    return dict(zip(files, rows, strict=True))


def run(transform, elements, **options):
    """Returns the lists that a transform makes of elements, and the metrics by name."""

    # Pickled by value, as workers do not know this file.
    def keep(row, path):
        import pickle
        import uuid

        with open(f"{path}.{uuid.uuid4()}", "wb") as file:
            pickle.dump(row, file)

    with tempfile.TemporaryDirectory() as folder:
        pipeline = beam.Pipeline(options=PipelineOptions([], runner=RUNNER, **options))
        outputs = pipeline | beam.Create(elements) | beam.Reshuffle() | transform
        several = isinstance(outputs, beam.pvalue.DoOutputsTuple)
        outputs = list(outputs) if several else [outputs]
        for n, output in enumerate(outputs):
            output | f"Keep{n}" >> beam.Map(keep, f"{folder}/{n}")
        result = pipeline.run()
        result.wait_until_finish()
        names = [pathlib.Path(folder).glob(f"{n}.*") for n in range(len(outputs))]
        lists = [[pickle.loads(x.read_bytes()) for x in found] for found in names]
    metrics = [one for kind in result.metrics().query().values() for one in kind]
    metrics = {
        one.key.metric.name: one.committed
        for one in metrics
        if one.key.metric.namespace == "keras_gradcam"
    }
    return *lists, metrics


def assert_equal(rows, expected):
    """Compares explanations with the plain ones, file by file."""
    assert sorted(row["file"] for row in rows) == sorted(expected)
    for row in rows:
        heatmap, number, score = expected[row["file"]]
        assert row["heatmap"].dtype == np.float32
        np.testing.assert_allclose(row["heatmap"], heatmap, atol=1e-6)
        assert row["class"] == number
        np.testing.assert_allclose(row["score"], score, rtol=1e-5)
        assert {type(row[key]) for key in ("class", "score")} == {int, float}


@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize("options", [{}, THREADS], ids=["one", "threads"])
def test_output_equals_the_plain_one(model, saved, files, batch_size, options):
    rows, failures, metrics = run(
        ExplainImages(saved, batch_size=batch_size), files, **options
    )
    assert failures == []
    assert_equal(rows, plain(kg.GradCAM(model), files))
    sizes = metrics["inference_request_batch_size"]
    workers = options.get("direct_num_workers", 1)
    assert sizes.sum == 11
    assert sizes.max == min(batch_size, 11) or (workers > 1 and batch_size == 32)
    assert sizes.max <= batch_size
    assert -(-11 // batch_size) <= sizes.count <= -(-11 // batch_size) + workers - 1


@pytest.mark.slow
def test_two_processes_load_one_model_each(model, saved, files):
    bad = [str(pathlib.Path(files[0]).parent / "missing.png")]
    rows, failures, metrics = run(
        ExplainImages(saved, batch_size=4), files + bad, **PROCESSES
    )
    assert_equal(rows, plain(kg.GradCAM(model), files))
    assert [row["file"] for row in failures] == bad
    assert (metrics["explained"], metrics["failed"]) == (11, 1)
    assert metrics["load_model_latency_milli_secs"].count == 2
    assert metrics["inference_request_batch_size"].count > 2


class CountedCAM:
    """Makes a `GradCAM`, and counts how often."""

    loads = 0
    lock = threading.Lock()

    def __call__(self):
        with type(self).lock:
            type(self).loads += 1
        return kg.GradCAM(make_classifier())


def test_threads_of_a_process_load_one_model(files, monkeypatch):
    monkeypatch.setattr(CountedCAM, "loads", 0)
    rows, _, metrics = run(ExplainImages(CountedCAM(), batch_size=2), files, **THREADS)
    assert CountedCAM.loads == 1
    assert metrics["inference_request_batch_size"].count >= 6
    assert_equal(rows, plain(kg.GradCAM(make_classifier()), files))


def test_threads_explain_one_after_the_other(model, monkeypatch):
    running, most = 0, 0

    def slow(images, labels):
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.05)
        running -= 1

    monkeypatch.setattr("keras_gradcam.jobs.beam.Explainer", lambda cam: slow)
    explain = _Explainer(kg.GradCAM(model))
    threads = [threading.Thread(target=explain, args=([],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_processes_of_a_machine_can_share_a_model(model, saved, files):
    transform = ExplainImages(saved, batch_size=4, large_model=True)
    rows, failures, metrics = run(transform, files)
    assert failures == []
    assert metrics["explained"] == 11
    assert_equal(rows, plain(kg.GradCAM(model), files))


def load_scaled(file):
    """Pixels in [0, 1]; for files with a name of their own, what fits no model."""
    assert file.readable() and file.seekable()
    image = kg.load_image(file).astype("float32") / 255
    if "gray" in file.name:
        return image[..., :1]
    if "nan" in file.name:
        image[3, 4] = np.nan
    return image


def test_bad_files_are_told_by_name_and_stop_no_other(model, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    for name in ("good.png", "gray.png", "nan.png", "whole.jpg", "gut größe.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    Image.fromarray(pixels[:9]).save(tmp_path / "small.png")
    Image.fromarray(np.tile(pixels, (9, 9, 1))).save(tmp_path / "cut.jpg")
    jpeg = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "cut header.jpg").write_bytes(jpeg[:10])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text ü.png").write_text("no picture")
    (tmp_path / "folder").mkdir()
    expected = {
        "gray.png": "shape (16, 12, 1), expected (16, 12, 3)",
        "nan.png": "NaN",
        "small.png": "shape (9, 12, 3), expected (16, 12, 3)",
        "cut.jpg": "truncated",
        "cut header.jpg": "must be a picture",
        "empty.png": "must be a picture",
        "text ü.png": "must be a picture",
        "folder": "IsADirectoryError",
        "missing.png": "FileNotFoundError",
    }
    good = ["good.png", "gut größe.png", "whole.jpg"]
    names = [str(tmp_path / name) for name in [*expected, *good]]
    saved = _save(kg.GradCAM(model), tmp_path)
    rows, failures, metrics = run(ExplainImages(saved, load_scaled), names)
    assert sorted(row["file"] for row in rows) == [str(tmp_path / x) for x in good]
    np.testing.assert_allclose(
        next(row["heatmap"] for row in rows if row["file"].endswith("good.png")),
        kg.GradCAM(model)((pixels / np.float32(255))[None])[0],
        atol=1e-6,
    )
    errors = {pathlib.Path(row["file"]).name: row["error"] for row in failures}
    assert errors.keys() == expected.keys()
    for name, text in expected.items():
        assert text in errors[name], name
        assert "\n" not in errors[name]
        assert " object at 0x" not in errors[name]
    assert f"path='{tmp_path}/text ü.png'" in errors["text ü.png"]
    assert (metrics["explained"], metrics["failed"]) == (3, 9)


def test_metrics(saved, files):
    bad = files[0] + ".missing"
    _, _, metrics = run(ExplainImages(saved, batch_size=6), [*files, bad])
    assert (metrics["explained"], metrics["failed"]) == (11, 1)
    assert metrics["num_inferences"] == 12
    assert metrics["read_milliseconds"].count == 2
    assert metrics["explain_milliseconds"].count == 2
    explaining = metrics["explain_milliseconds"].sum
    # The first batch traces the model.
    assert (
        1 < explaining <= metrics["inference_batch_latency_micro_secs"].sum / 1000 + 2
    )
    names = sum(len(os.fsencode(file)) for file in [*files, bad])
    assert metrics["inference_request_batch_byte_size"].sum == names


def test_a_bundle_without_a_good_file(saved, files):
    bad = [files[0] + ".missing"]
    rows, failures, metrics = run(ExplainImages(saved), bad)
    assert rows == []
    assert [row["file"] for row in failures] == bad
    assert "explain_milliseconds" not in metrics


@pytest.mark.parametrize(
    "kind",
    [
        str,
        pathlib.Path,
        lambda file: FileMetadata(file, 0),
        lambda file: ReadableFile(FileMetadata(file, 0)),
    ],
    ids=["str", "path", "metadata", "readable"],
)
def test_every_kind_of_file(saved, files, kind):
    rows, failures, _ = run(ExplainImages(saved), [kind(file) for file in files[:2]])
    assert failures == []
    assert sorted(row["file"] for row in rows) == sorted(files[:2])


def test_files_that_beam_matches(model, saved, files):
    pattern = str(pathlib.Path(files[0]).parent / "*.png")

    class Matched(beam.PTransform):
        def expand(self, pcoll):
            found = pcoll.pipeline | MatchFiles(pattern) | ReadMatches()
            return found | ExplainImages(saved)

    rows, _, _ = run(Matched(), ["unused"])
    assert_equal(rows, plain(kg.GradCAM(model), files))


def test_compressed_files(saved, files):
    packed = gzip.compress(pathlib.Path(files[1]).read_bytes())
    paths = [files[1] + ".gz", files[1] + ".packed"]
    for path in paths:
        pathlib.Path(path).write_bytes(packed)
    # The name of the last one does not say what Beam has been told.
    told = [ReadableFile(FileMetadata(path, 0), "gzip") for path in paths[1:]]
    for elements in (paths[:1], told):
        rows, failures, _ = run(ExplainImages(saved), elements)
        assert failures == []
        expected = plain(keras.saving.load_model(saved), files[1:2])[files[1]][0]
        np.testing.assert_allclose(rows[0]["heatmap"], expected, atol=1e-6)


class OtherFileSystem(LocalFileSystem):
    """The local one, by names with a scheme, as those of a bucket."""

    @classmethod
    def scheme(cls):
        return "other"

    def open(self, path, *args, **kwargs):
        return super().open(path.removeprefix("other://"), *args, **kwargs)


def test_model_and_images_on_another_file_system(model, saved, files):
    names = [f"other://{file}" for file in files]
    rows, failures, _ = run(ExplainImages(f"other://{saved}"), names)
    assert failures == []
    assert sorted(row["file"] for row in rows) == sorted(names)


def test_batches_under_xla(files, model, tmp_path):
    saved = _save(kg.GradCAM(model, jit_compile=True), tmp_path)
    rows, failures, _ = run(ExplainImages(saved, batch_size=4), files)
    assert failures == []
    assert_equal(rows, plain(kg.GradCAM(model), files))


def test_a_label_for_each_file(model, files, tmp_path):
    saved = _save(kg.GradCAM(model, target="true"), tmp_path)
    numbers = {file: n % 4 for n, file in enumerate(files)}
    del numbers[files[3]], numbers[files[4]]
    numbers[files[5]] = 99

    def label(file):
        if file == files[4]:
            raise ValueError("no label")
        return numbers[file]

    rows, failures, _ = run(ExplainImages(saved, label=label, batch_size=5), files)
    failures = {row["file"]: row["error"] for row in failures}
    assert failures.keys() == set(files[3:6])
    assert failures[files[3]].startswith("KeyError")
    assert failures[files[4]] == "ValueError: no label"
    images = np.stack([kg.load_image(row["file"], SIZE) for row in rows])
    classes = [numbers[row["file"]] for row in rows]
    assert [row["class"] for row in rows] == classes
    expected = kg.GradCAM(model)(images, target=classes)
    np.testing.assert_allclose([row["heatmap"] for row in rows], expected, atol=1e-6)


def test_a_target_that_is_no_class(model, files):
    def cam():
        return kg.GradCAM(make_classifier(), target=lambda y: y[:, 1] - y[:, 2])

    rows, _, _ = run(ExplainImages(cam), files[:1])
    assert rows[0]["class"] == -1
    assert isinstance(rows[0]["score"], float)


def test_a_model_for_pictures_of_any_size(files):
    def cam():
        inputs = keras.Input((None, None, 3))
        x = L.Conv2D(4, 3, activation="relu")(inputs)
        x = L.Dense(3)(L.GlobalAveragePooling2D()(x))
        return kg.GradCAM(keras.Model(inputs, x))

    rows, failures, _ = run(ExplainImages(cam), files)
    assert failures == []
    shapes = {row["file"]: row["heatmap"].shape for row in rows}
    assert [shapes[file] for file in files[:3]] == [(30, 20), SIZE, SIZE]


# The handler alone.


def test_arrays_through_run_inference(model, saved, images):
    handler = GradCAMModelHandler(saved, batch_size=2)
    broken = [images[0] * np.nan, images[0][:5], images[0][..., 0], "no array"]
    results, metrics = run(RunInference(handler), [*images, *broken])
    expected = kg.GradCAM(model).predict(images, verbose=0)
    made = [r for r in results if isinstance(r.inference, Explanation)]
    assert len(results) == 9 and len(made) == 5
    for result in made:
        (n,) = [n for n, x in enumerate(images) if np.array_equal(x, result.example)]
        np.testing.assert_allclose(result.inference.heatmap, expected[n], atol=1e-6)
        assert result.model_id == saved
    assert (metrics["explained"], metrics["failed"]) == (5, 4)
    assert metrics["inference_request_batch_size"].max == 2


def test_bytes_of_a_batch_are_those_of_its_arrays(saved, images):
    _, metrics = run(RunInference(GradCAMModelHandler(saved)), list(images))
    assert metrics["inference_request_batch_byte_size"].sum == images.nbytes
    handler = GradCAMModelHandler(saved)
    pairs = [{"a": images[0], "b": np.zeros(3, "float32")}]
    assert handler.get_num_bytes(pairs) == images[0].nbytes + 12


def test_arrays_with_labels(model, images, tmp_path):
    saved = _save(kg.GradCAM(model, target="true"), tmp_path)
    handler = GradCAMModelHandler(saved, labels=True)
    results, _ = run(RunInference(handler), [(x, n % 4) for n, x in enumerate(images)])
    assert len(results) == 5
    for result in results:
        image, number = result.example
        assert result.inference.class_index == number
        expected = kg.GradCAM(model)(image[None], target=int(number))[0]
        np.testing.assert_allclose(result.inference.heatmap, expected, atol=1e-6)


def test_several_inputs():
    def cam():
        image, table = keras.Input((8, 8, 3), name="image"), keras.Input((2,), name="t")
        x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, activation="relu")(image))
        x = L.Dense(3)(L.concatenate([x, table]))
        keras.utils.set_random_seed(3)
        return kg.GradCAM(keras.Model({"image": image, "t": table}, x))

    rng = np.random.default_rng(0)
    one = {"image": rng.random((8, 8, 3)), "t": rng.random(2)}
    one = {key: value.astype("float32") for key, value in one.items()}
    results, _ = run(RunInference(GradCAMModelHandler(cam)), [one, one])
    assert [r.inference.heatmap.shape for r in results] == [(8, 8), (8, 8)]
    assert results[0].model_id is None


def test_batches_of_sizes_that_beam_finds(saved):
    fixed = GradCAMModelHandler(saved, 8).batch_elements_kwargs()
    assert fixed == {"min_batch_size": 8, "max_batch_size": 8}
    free = GradCAMModelHandler(
        saved, 8, min_batch_size=2, max_batch_duration_secs=3
    ).batch_elements_kwargs()
    assert free == {
        "min_batch_size": 2,
        "max_batch_size": 8,
        "max_batch_duration_secs": 3,
    }


def test_a_stream_of_single_files_makes_batches(model, saved, files):
    transform = ExplainImages(saved, batch_size=4, max_batch_duration_secs=60)
    rows, _, metrics = run(transform, files)
    assert_equal(rows, plain(kg.GradCAM(model), files))
    assert metrics["inference_request_batch_size"].max == 4


def test_options_of_the_handler_reach_beam(saved, monkeypatch):
    handler = GradCAMModelHandler(
        saved, large_model=True, model_copies=2, env_vars={"KERAS_GRADCAM_TEST": "1"}
    )
    assert handler.share_model_across_processes()
    assert handler.model_copies() == 2
    monkeypatch.setenv("KERAS_GRADCAM_TEST", "0")
    handler.set_environment_vars()
    assert os.environ["KERAS_GRADCAM_TEST"] == "1"
    assert not GradCAMModelHandler(saved).share_model_across_processes()
    assert GradCAMModelHandler(saved).get_metrics_namespace() == "keras_gradcam"


def test_a_new_path_is_loaded_next(saved):
    handler = GradCAMModelHandler("elsewhere.keras")
    handler.update_model_path(None)
    with pytest.raises(FileNotFoundError, match="elsewhere.keras"):
        handler.load_model()
    handler.update_model_path(saved)
    assert callable(handler.load_model())


def test_handler_and_transform_are_pickled_small(saved, images):
    for made in (
        GradCAMModelHandler(saved),
        GradCAMModelHandler(pathlib.Path(saved)),
        ExplainImages(saved, load_scaled, label=len)._handler,
    ):
        pickled = pickler.dumps(made)
        assert len(pickled) < 10_000
        again = pickler.loads(pickled)
        assert again.batch_elements_kwargs() == made.batch_elements_kwargs()
        assert callable(again.load_model())


# Errors.


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"cam": None}, TypeError, "path of a saved `GradCAM`.*cam=None"),
        ({"cam": 3}, TypeError, "cam=3 of type int"),
        ({"cam": "model.h5"}, ValueError, r"has written. Received: cam='model.h5'"),
        ({"batch_size": 0}, ValueError, "`batch_size` .* at least 1.*batch_size=0"),
        ({"batch_size": 2.5}, ValueError, "batch_size=2.5"),
        ({"min_batch_size": 40}, ValueError, "at most `batch_size`, 32.*=40"),
        ({"load": "x"}, TypeError, "`load` must be a callable or None.*load='x'"),
        ({"label": 3}, TypeError, "`label` must be a callable or None.*label=3"),
        ({"large": True}, TypeError, "unexpected keyword argument 'large'"),
    ],
)
def test_early_errors(options, error, message):
    with pytest.raises(error, match=message):
        ExplainImages(**{"cam": "cam.keras", **options})


def test_a_model_does_not_travel_with_the_pipeline(model):
    for cam in (kg.GradCAM(model), model):
        for make in (GradCAMModelHandler, ExplainImages):
            with pytest.raises(TypeError, match=r"Save it with `cam.save\('cam.keras'"):
                make(cam)


def test_elements_of_another_type(saved):
    pipeline = beam.Pipeline(options=PipelineOptions([], runner=RUNNER))
    with pytest.raises(
        Exception, match="expected .*<class 'str'>.*, got <class 'int'>"
    ):
        pipeline | beam.Create([1, 2]) | ExplainImages(saved)


def test_inference_args_are_refused(saved):
    handler = GradCAMModelHandler(saved)
    handler.validate_inference_args(None)
    handler.validate_inference_args({})
    with pytest.raises(ValueError, match="inference_args={'target': 3}"):
        run(RunInference(handler, inference_args={"target": 3}), ["unused"])


def _no_gradcam():
    return make_classifier()


def _no_such_layer():
    return kg.GradCAM(make_classifier(), "absent")


def _no_pictures():
    model = keras.Sequential(
        [keras.Input((16, 12, 1)), L.Conv2D(2, 3), L.Flatten(), L.Dense(2)]
    )
    return kg.GradCAM(model)


def _needs_labels():
    return kg.GradCAM(make_classifier(), target="true")


def _import_missing(file):
    import no_such_module  # noqa: F401


@pytest.mark.parametrize(
    "cam, options, message",
    [
        ("missing.keras", {}, "missing.keras"),
        (_no_gradcam, {}, "`cam` must be a `GradCAM`"),
        (_no_such_layer, {}, "absent"),
        (_no_pictures, {}, "`load` must be a function"),
        (_needs_labels, {}, "target='true'"),
        (make_classifier, {"load": lambda: 0}, "`cam` must be a `GradCAM`"),
        (None, {"load": lambda: 0}, "positional argument"),
        (None, {"load": _import_missing}, "no_such_module"),
        (None, {"label": lambda file: absent}, "absent"),  # noqa: F821
    ],
)
def test_a_wrong_setting_fails_the_pipeline(saved, files, cam, options, message):
    with pytest.raises(Exception, match=message):
        run(ExplainImages(cam or saved, **options), files[:2])


def test_a_file_system_that_beam_lacks_fails_the_pipeline(saved):
    with pytest.raises(Exception, match="Unable to get filesystem"):
        run(ExplainImages(saved), ["nowhere://bucket/cat.png"])


# The extra, and its page.


def test_options_of_the_page_are_those_of_beam():
    page = (ROOT / "docs" / "beam.md").read_text()
    commands = re.findall(r"^python pipeline.py ((?:.*\\\n)*.*)$", page, re.MULTILINE)
    runners = ["FnApiRunner", "FlinkRunner", "SparkRunner", "DataflowRunner"]
    known = PipelineOptions([]).get_all_options()
    for command, runner in zip(commands, runners, strict=True):
        flags = shlex.split(command.replace("\\\n", " "))
        names = {flag.removeprefix("--").split("=")[0] for flag in flags}
        assert names <= set(known)
        assert PipelineOptions(flags).get_all_options()["runner"] == runner


def test_import_without_beam_says_what_to_install():
    code = """
import sys
import keras_gradcam
assert "apache_beam" not in sys.modules
sys.modules["apache_beam"] = None
try:
    import keras_gradcam.beam
except ImportError as error:
    assert "pip install keras_gradcam[beam]" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
