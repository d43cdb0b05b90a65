import contextlib
import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_gradcam
from keras_gradcam import cli
from keras_gradcam.demo import tasks, training
from keras_gradcam.demo.tasks import Task
from keras_gradcam.demo.training import Snapshot, TrainingPictures


def steps(run):
    (path,) = run.glob("events.out.tfevents.*")
    events = map(
        tf.compat.v1.Event.FromString,
        tf.data.TFRecordDataset(str(path)).as_numpy_iterator(),
    )
    return [event.step for event in events if event.summary.value]


def write_pictures(folder, count, mode="RGB", color="white"):
    folder.mkdir(parents=True)
    for number in range(count):
        # Sizes differ, as they do in a real folder.
        picture = Image.new(mode, (20 + number, 30), color)
        picture.save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    pytest.importorskip("sklearn")
    out = tmp_path_factory.mktemp("runs") / "new" / "demo"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main(f"demo --epochs 2 --scenes 150 --out {out}".split())
    assert code == 0
    return out, printed.getvalue().splitlines()


@pytest.mark.slow
def test_a_picture_for_each_epoch(digits):
    out, _ = digits
    names = [f"epoch_{epoch:02d}.png" for epoch in (0, 1)]
    assert sorted(path.name for path in out.glob("epoch_*.png")) == names
    first, second = (keras_gradcam.load_image(out / name) for name in names)
    assert first.shape == second.shape
    assert (first != second).any()


@pytest.mark.slow
def test_the_contact_sheet_has_a_column_for_each_epoch(digits):
    sheet = keras_gradcam.load_image(digits[0] / "contact_sheet.png")
    columns, rows = 4, 6
    assert sheet.shape[1] == columns * (128 + 6) + 6
    assert sheet.shape[0] == 48 + rows * (128 + 24 + 6) + 6


def test_the_callback_and_keras_write_to_the_same_place(digits):
    logs = digits[0] / "logs"
    assert steps(logs / "gradcam") == [-1, 0, 1]
    assert {path.name for path in logs.iterdir()} == {"gradcam", "train", "validation"}


def test_each_epoch_prints_the_pointing_game_and_chance_before(digits):
    lines = digits[1]
    (chance,) = (
        re.search(r"would hit (.*)% of the boxes", line) for line in lines[1:2]
    )
    assert 8 < float(chance[1]) < 16
    number = r"\d+\.\d%"
    for line, start in zip(
        lines[2:5],
        [
            "untrained  ",
            f"1 epoch    accuracy {number}, validation {number}, ",
            f"2 epochs   accuracy {number}, validation {number}, ",
        ],
        strict=True,
    ):
        assert re.fullmatch(f"{start}peak in box {number}", line)


def test_the_last_line_opens_tensorboard(digits):
    out, lines = digits
    options = f"--logdir {out / 'logs'} --samples_per_plugin images=1000"
    assert lines[-1].endswith(f" -m tensorboard.main {options}")
    python = lines[-1].split()[0]
    assert os.path.samefile(python, sys.executable)
    assert not any("pip install" in line for line in lines)


@pytest.mark.parametrize(("covered", "share"), [(64, "100.0%"), (0, "0.0%")])
def test_the_pointing_game_is_played_with_the_boxes(tmp_path, capsys, covered, share):
    images = np.random.default_rng(0).integers(256, size=(12, 64, 64, 1), dtype="uint8")
    boxes = np.tile([0, 0, covered, covered], (12, 1))
    names = [str(digit) for digit in range(10)]
    labels = np.arange(12) % 10
    story = TrainingPictures(Task(None, None, names, images, labels, boxes), tmp_path)
    story.set_model(training.build_network((64, 64, 1), 10))
    story.on_train_begin()
    chance, untrained = capsys.readouterr().out.splitlines()
    assert f"would hit {share} " in chance
    assert untrained.endswith(f"peak in box {share}")


def test_many_epochs_are_thinned_out_on_the_contact_sheet(tmp_path):
    labels = np.array([0, 1, 1])
    images = np.zeros((3, 32, 32, 3), "uint8")
    story = TrainingPictures(Task(None, None, ["a", "b"], images, labels), tmp_path)
    for number in range(30):
        # The heat is on, so the overlay's red tells the epoch.
        heat = np.full((3, 32, 32), number / 29)
        story.snapshots.append(Snapshot("", "", heat, ["a"] * 3, labels == 0))
    story.on_train_end()
    sheet = keras_gradcam.load_image(tmp_path / "contact_sheet.png")
    assert sheet.shape[:2] == (48 + 3 * 158 + 6, 8 * 134 + 6)
    first, last = sheet[100, 200], sheet[100, 7 * 134 + 60]
    assert first.max() == 0
    assert last[0] > 80 and last[1:].max() == 0


@pytest.mark.parametrize("size", [64, 100, 128])
def test_the_last_grid_is_fine_enough_to_point_with(size):
    model = training.build_network((size, size, 3), 4)
    assert 9 <= model.get_layer("conv5_relu").output.shape[1] <= 16
    assert model.output_shape == (None, 4)
    assert model.count_params() < 150_000


@pytest.mark.slow
def test_a_folder_of_pictures_without_tensorboard(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    write_pictures(tmp_path / "in" / "cats", 8, "L", "gray")
    write_pictures(tmp_path / "in" / "dogs", 8, color="navy")
    (tmp_path / "in" / ".hidden").mkdir()
    out = tmp_path / "out"
    code = cli.main(
        ["demo", "--images", str(tmp_path / "in"), "--epochs", "1", "--out", str(out)]
    )
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert not any("box" in line for line in lines)
    (line,) = (line for line in lines if line.startswith("1 epoch"))
    assert re.fullmatch(r"1 epoch    accuracy [\d.]+%, validation [\d.]+%", line)
    assert "pip install tensorboard" in lines[-2]
    assert (out / "contact_sheet.png").exists()
    assert (out / "epoch_00.png").exists()
    assert [path.name for path in (out / "logs").iterdir()] == ["gradcam"]


def test_the_folders_name_the_classes(tmp_path):
    write_pictures(tmp_path / "cats", 10, "L", 50)
    write_pictures(tmp_path / "dogs", 10, color=(200, 10, 10))
    task = tasks.folder_task(tmp_path, seed=1)
    assert task.class_names == ["cats", "dogs"]
    assert len(task.images) == len(task.labels) == 4
    assert task.images.dtype == np.uint8
    for image, label in zip(task.images, task.labels, strict=True):
        assert image[0, 0].tolist() == ([200, 10, 10] if label else [50, 50, 50])
    sizes = [len(images) for images, _ in task.train]
    assert sizes == [16]


def no_folder(path):
    return f"there is no folder '{path}'"


def no_classes(path):
    write_pictures(path, 12)
    return f"two or more classes is needed; '{path}' has: none"


def one_class(path):
    write_pictures(path / "cats", 12)
    return f"two or more classes is needed; '{path}' has: cats"


def an_empty_class(path):
    write_pictures(path / "cats", 12)
    (path / "dogs").mkdir()
    (path / "dogs" / "notes.txt").write_text("no picture")
    return "there is no picture (.bmp, .gif, .jpeg, .jpg, .png) in "


def few_pictures(path):
    write_pictures(path / "cats", 2)
    write_pictures(path / "dogs", 2)
    return "at least 10 pictures are needed"


@pytest.mark.parametrize(
    "build", [no_folder, no_classes, one_class, an_empty_class, few_pictures]
)
def test_a_bad_folder_is_told_in_one_line(tmp_path, capsys, build):
    expected = build(tmp_path / "in")
    with pytest.raises(SystemExit) as exit_:
        cli.main(["demo", "--images", str(tmp_path / "in")])
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("keras_gradcam: error: ")
    assert expected in line


def test_missing_scikit_learn_is_told_in_one_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["demo"])
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'pip install "keras_gradcam[demo]"' in line


@pytest.mark.parametrize("option", ["--epochs", "--scenes"])
def test_counts_are_positive(capsys, option):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["demo", option, "0"])
    assert exit_.value.code == 2
    assert "at least 1" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.strip() == keras_gradcam.__version__


def test_python_m_runs_the_command_line_and_hands_on_its_exit_code():
    command = [sys.executable, "-m", "keras_gradcam", "demo"]
    told = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert told.returncode == 0
    assert "--images" in told.stdout
