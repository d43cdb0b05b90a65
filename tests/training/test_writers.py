"""Event files, picture files and animations."""

import shutil

import numpy as np
import PIL.Image
import pytest
from trainings import fit, make_data, make_trainable, steps_of, written

import keras_gradcam as kg
from keras_gradcam.training.writers.event_files import EventFiles
from keras_gradcam.training.writers.picture_files import MAX_FRAMES, PictureFiles


def panel(value):
    return np.full((224, 300, 3), value, np.uint8)


def write(sink, step, tag="gradcam/last", count=2, **scalars):
    scalars = {f"{tag.split('/')[0]}/{key}": x for key, x in scalars.items()}
    sink(step, {tag: [panel(10 * (step + 1) + n) for n in range(count)]}, scalars)


# Event files.


def test_numbers_and_pictures_share_a_step(tmp_path):
    sink = EventFiles(tmp_path, "watch", "png")
    write(sink, 3, tag="watch/last", peak=0.5, inside=float("nan"))
    sink.close()
    curves = written(tmp_path, "scalars")["watch"]
    assert curves["watch/peak"] == {3: 0.5}
    assert np.isnan(curves["watch/inside"][3])
    width, height, *encoded = written(tmp_path)["watch"]["watch/last"][3]
    assert (width, height, len(encoded)) == (b"300", b"224", 2)


def test_what_is_written_is_on_disk_at_once(tmp_path):
    sink = EventFiles(tmp_path)
    for step in range(3):
        write(sink, step)
        assert steps_of(tmp_path) == list(range(step + 1))


def test_a_training_that_begins_anew_has_a_run_of_its_own(tmp_path):
    sink = EventFiles(tmp_path)
    for step in (-1, 0, 1, -1, 0):
        write(sink, step)
    another = EventFiles(tmp_path)
    assert another.begin(goes_on=False) == {}
    write(another, 5)
    write(another, 5, tag="gradcam/other")
    assert another.begin(goes_on=False) == {}
    write(another, 6)
    assert {run: list(tags) for run, tags in written(tmp_path).items()} == {
        "gradcam": ["gradcam/last"],
        "gradcam-2": ["gradcam/last"],
        "gradcam-3": ["gradcam/last", "gradcam/other"],
        "gradcam-4": ["gradcam/last"],
    }
    assert steps_of(tmp_path, "gradcam") == [-1, 0, 1]
    assert steps_of(tmp_path, "gradcam-2") == [-1, 0]


def test_a_training_that_goes_on_stays_in_its_run(tmp_path):
    sink = EventFiles(tmp_path)
    for step in (-1, 0, 1):
        write(sink, step, scale=0.5 + step)
    sink.close()
    assert sink.begin(goes_on=True) == {}
    write(sink, 2)
    resumed = EventFiles(tmp_path)
    assert resumed.begin(goes_on=True) == {"gradcam/scale": 1.5}
    for step in (3, 4):
        write(resumed, step)
    assert list(written(tmp_path)) == ["gradcam"]
    assert steps_of(tmp_path) == [-1, 0, 1, 2, 3, 4]


def test_a_training_whose_steps_go_back_has_a_run_of_its_own(tmp_path):
    for first in (0, 2):
        sink = EventFiles(tmp_path)
        sink.begin(goes_on=True)
        for step in range(first, first + 3):
            write(sink, step)
    assert steps_of(tmp_path) == [0, 1, 2]
    assert steps_of(tmp_path, "gradcam-2") == [2, 3, 4]


def test_a_directory_that_is_cleared_is_made_again(tmp_path):
    """Writing into a file that has been removed would lose it all without an error."""
    sink = EventFiles(tmp_path)
    write(sink, 0)
    shutil.rmtree(tmp_path / "gradcam")
    write(sink, 1)
    write(sink, 2)
    assert steps_of(tmp_path) == [1, 2]


def test_an_unusable_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="`log_dir` must be a directory"):
        EventFiles(tmp_path / "file").make_directory()


# Picture files.


def test_each_panel_is_a_file(tmp_path):
    sink = PictureFiles(tmp_path)
    for step in (-1, 0, 12):
        write(sink, step)
    sink.close()
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*"))
    assert files == sorted(
        f"gradcam/last/{sample:02d}/{step}.png"
        for sample in (0, 1)
        for step in ("-00001", "000000", "000012")
    )
    picture = np.asarray(PIL.Image.open(tmp_path / "gradcam/last/01/000012.png"))
    np.testing.assert_array_equal(picture, panel(131))


def frames_of(path):
    with PIL.Image.open(path) as animation:
        for number in range(animation.n_frames):
            animation.seek(number)
            yield np.asarray(animation.convert("RGB"))[-1, -1, 0]


@pytest.mark.parametrize("animation", ["gif", "webp"])
def test_animations_show_the_steps_in_order(tmp_path, animation):
    sink = PictureFiles(tmp_path, animation)
    for step in (-1, 0, 5, 9):
        write(sink, step)
    sink.close()
    for sample in (0, 1):
        path = tmp_path / f"gradcam/last/{sample:02d}.{animation}"
        expected = [10 * (step + 1) + sample for step in (-1, 0, 5, 9)]
        np.testing.assert_allclose(list(frames_of(path)), expected, atol=2)


def test_an_interrupted_training_is_animated_as_a_whole(tmp_path):
    first = PictureFiles(tmp_path)
    for step in (-1, 0, 1, 2):
        write(first, step)
    resumed = PictureFiles(tmp_path, "gif")
    for step in (2, 3):
        write(resumed, step)
    resumed.close()
    found = list(frames_of(tmp_path / "gradcam/last/00.gif"))
    np.testing.assert_allclose(found, [0, 10, 20, 30, 40], atol=2)


def test_an_earlier_training_is_not_mixed_in(tmp_path):
    earlier = PictureFiles(tmp_path)
    for step in range(6):
        write(earlier, step)
    again = PictureFiles(tmp_path, "gif")
    for _ in range(2):  # Also when the same sink sees two trainings.
        for step in (-1, 0, 2):
            write(again, step)
    again.close()
    found = list(frames_of(tmp_path / "gradcam/last/00.gif"))
    np.testing.assert_allclose(found, [0, 10, 30], atol=2)


def test_long_trainings_are_thinned_out_from_first_to_last(tmp_path):
    sink = PictureFiles(tmp_path, "gif")
    small = np.zeros((20, 60, 3), np.uint8)
    for step in range(MAX_FRAMES + 30):
        sink(step, {"a": [small + step]}, {})
    sink.close()
    found = list(frames_of(tmp_path / "a/00.gif"))
    assert len(found) == MAX_FRAMES
    assert found[0] == 0 and abs(int(found[-1]) - MAX_FRAMES - 29) <= 2


def test_frames_of_another_size_or_gone_are_left_out(tmp_path):
    earlier = PictureFiles(tmp_path)
    earlier(0, {"a": [np.zeros((50, 60, 3), np.uint8)]}, {})
    sink = PictureFiles(tmp_path, "gif")
    for step in range(1, 5):
        write(sink, step, tag="a")
    (tmp_path / "a/00/000003.png").unlink()
    sink.close()
    found = list(frames_of(tmp_path / "a/00.gif"))
    np.testing.assert_allclose(found, [20, 30, 50], atol=2)


def test_a_tag_that_is_no_file_name(tmp_path):
    tags = ["gradcam/" + ", ".join(["layer:1"] * n) for n in (1, 60, 61)]
    sink = PictureFiles(tmp_path)
    for tag in tags:
        write(sink, 0, tag=tag, count=1)
    paths = list(tmp_path.rglob("*.png"))
    assert len(paths) == 3
    assert not any(":" in str(path) for path in paths)


def test_an_unknown_animation():
    with pytest.raises(ValueError, match="'webp', 'gif' or None.*'mp4'"):
        PictureFiles("pictures", "mp4")


# With a training.


def test_sinks_get_what_tensorboard_gets(tmp_path):
    data = make_data()
    model = make_trainable()
    seen = []

    class Experiment:
        """As Weights & Biases has it: one call for each step, with named values."""

        def log(self, values, step):
            seen.append((step, values))

    experiment = Experiment()

    def log(step, panels, scalars):
        pictures = {tag: list(map(PIL.Image.fromarray, p)) for tag, p in panels.items()}
        experiment.log({**pictures, **scalars}, step=step)

    callback = kg.GradCAMCallback(
        *data, log_dir=tmp_path / "logs", sinks=[log, PictureFiles(tmp_path / "png")]
    )
    fit(model, data, [callback], epochs=2)
    assert [step for step, _ in seen] == [-1, 0, 1]
    for step, values in seen:
        curves = written(tmp_path / "logs", "scalars")["gradcam"]
        assert values["gradcam/peak"] == pytest.approx(curves["gradcam/peak"][step])
        for number, picture in enumerate(values["gradcam/last"]):
            path = tmp_path / f"png/gradcam/last/{number:02d}/{step:06d}.png"
            np.testing.assert_array_equal(PIL.Image.open(path), picture)


def test_a_sink_that_fails_does_not_keep_the_others_from_writing(tmp_path):
    def offline(step, panels, scalars):
        raise ConnectionError("no network")

    data = make_data()
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, sinks=offline)
    with pytest.warns(UserWarning, match="ConnectionError: no network") as warned:
        history = fit(make_trainable(), data, [callback]).history
    assert len([w for w in warned if "no network" in str(w.message)]) == 1
    assert steps_of(tmp_path) == [-1, 0, 1, 2]
    assert len(history["gradcam_peak"]) == 3
    strict = kg.GradCAMCallback(*data, log_dir=None, sinks=offline, on_error="raise")
    with pytest.raises(ConnectionError):
        fit(make_trainable(), data, [strict])


def test_a_directory_that_becomes_unwritable(tmp_path):
    data = make_data()
    sink = PictureFiles(tmp_path / "pictures")
    (tmp_path / "pictures").write_text("not a directory")
    callback = kg.GradCAMCallback(*data, log_dir=None, sinks=[sink])
    with pytest.warns(UserWarning, match="`GradCAMCallback` failed in writing, and tr"):
        assert len(fit(make_trainable(), data, [callback]).history["loss"]) == 3
