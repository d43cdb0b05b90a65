"""A real TensorBoard reads what the callback writes, and a real browser shows it."""

import io
import os
import re
from typing import NamedTuple

import keras
import numpy as np
import PIL.Image
import pytest
from tensorboard_server import TABS, browser, eventually, find_browser, tensorboard
from trainings import Keeps, fit, make_data, make_trainable, written

import keras_gradcam as kg

MEASURES = {f"gradcam/{name}" for name in ("peak", "entropy", "drift", "empty")}
PLACES = {f"gradcam/{name}" for name in ("pointing", "inside")}


class Trained(NamedTuple):
    """The runs below `log_dir`, and the panels of each as they were drawn."""

    log_dir: object
    drawn: dict


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    log_dir = tmp_path_factory.mktemp("logs")
    data = make_data()
    drawn = {}

    def train(name, epochs, **options):
        keeps = Keeps()
        callback = kg.GradCAMCallback(
            *data, log_dir=log_dir / name, sinks=[keeps], **options
        )
        # Fast enough that each epoch looks different.
        model = make_trainable(optimizer=keras.optimizers.Adam(0.02))
        fit(model, data, [callback], epochs)
        drawn[name] = {
            step: panels["gradcam/last"] for step, panels in keeps.panels.items()
        }

    train("short", epochs=3)
    train("long", epochs=14, num_samples=2, image_format="png")
    train("boxes", epochs=2, boxes=np.tile([2, 2, 14, 10], (40, 1)))
    return Trained(log_dir, drawn)


def pixels(encoded):
    return np.asarray(PIL.Image.open(io.BytesIO(encoded)).convert("RGB"), "float32")


@pytest.fixture(scope="module", params=["true", "false"])
def server(request, trained):
    """Both ways in which TensorBoard reads event files: in Rust and in Python."""
    options = [f"--load_fast={request.param}", "--samples_per_plugin", "images=1000"]
    last_steps = {"short/gradcam": 2, "boxes/gradcam": 1, "long/gradcam": 13}
    with tensorboard(trained.log_dir, *options) as server:
        eventually(server.last_steps, last_steps.__eq__)
        yield server


@pytest.mark.slow
def test_tags_and_samples(server):
    tags = server.tags("images")
    assert {run: list(of_run) for run, of_run in tags.items()} == {
        "short/gradcam": ["gradcam/last"],
        "boxes/gradcam": ["gradcam/last"],
        "long/gradcam": ["gradcam/last"],
    }
    assert tags["short/gradcam"]["gradcam/last"]["samples"] == 8
    assert tags["long/gradcam"]["gradcam/last"]["samples"] == 2
    assert "heatmap" in tags["short/gradcam"]["gradcam/last"]["description"]
    assert {run: set(of_run) for run, of_run in server.tags("scalars").items()} == {
        "short/gradcam": MEASURES,
        "boxes/gradcam": MEASURES | PLACES,
        "long/gradcam": MEASURES,
    }


# PNG is exact. Between two epochs more than a tenth of the range changes.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "last", "tolerance"), [("short", 2, 3), ("long", 13, 0)]
)
def test_each_panel_is_served_as_it_was_written(server, trained, run, last, tolerance):
    steps = written(trained.log_dir / run)["gradcam"]["gradcam/last"]
    drawn = trained.drawn[run]
    assert list(steps) == list(drawn) == list(range(-1, last + 1))
    samples = len(drawn[last])
    for sample in range(samples):
        served = server.images(f"{run}/gradcam", "gradcam/last", sample)
        assert served == {step: strings[2 + sample] for step, strings in steps.items()}
        for step, encoded in served.items():
            error = abs(pixels(encoded) - drawn[step][sample])
            assert error.mean() <= tolerance
    assert server.images(f"{run}/gradcam", "gradcam/last", samples) == {}


@pytest.mark.parametrize(("run", "last"), [("short", 2), ("boxes", 1)])
def test_numbers_are_served_as_they_were_written(server, trained, run, last):
    numbers = written(trained.log_dir / run, "scalars")["gradcam"]
    assert set(numbers) >= MEASURES
    for tag, steps in numbers.items():
        assert server.scalars(f"{run}/gradcam", tag) == steps
    assert list(numbers["gradcam/peak"]) == list(range(-1, last + 1))


@pytest.mark.slow
def test_without_the_option_ten_steps_are_served(trained):
    with tensorboard(trained.log_dir / "long") as server:
        eventually(server.last_steps, {"gradcam": 13}.__eq__)
        served = server.images("gradcam", "gradcam/last", 0)
    assert len(served) == 10
    assert max(served) == 13


def require_browser():
    if not find_browser():
        # Where every change is tested, a browser that is missing is a failure.
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("there is no chromium; apt-get install chromium fonts-dejavu-core")


def test_only_outside_of_ci_may_the_browser_be_missing(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="chromium"):
        require_browser()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="chromium"):
        require_browser()


def most_like(screenshot, panels):
    """The step and sample whose panel looks most like a screenshot."""
    shown = PIL.Image.open(io.BytesIO(screenshot)).convert("RGB")

    def distance(key):
        panel = PIL.Image.fromarray(panels[key[0]][key[1]])
        resized = np.asarray(panel.resize(shown.size, PIL.Image.Resampling.BOX))
        return abs(resized - np.asarray(shown, "float32")).mean()

    keys = [(step, sample) for step in panels for sample in range(len(panels[step]))]
    return min(keys, key=distance)


@pytest.fixture(scope="module")
def page(trained):
    """A browser that looks at the run `short`."""
    require_browser()
    with tensorboard(trained.log_dir / "short") as server:
        eventually(server.last_steps, {"gradcam": 2}.__eq__)
        with browser(server.url) as page:
            yield page


@pytest.mark.slow
@pytest.mark.parametrize("tab", TABS.values(), ids=TABS)
def test_the_slider_of_a_card_leads_through_all_steps(trained, page, tab):
    page.goto(tab.address)
    cards = page.locator(tab.card)
    eventually(cards.count, (8).__eq__)
    card = cards.nth(1)
    card.get_by_text("gradcam/last", exact=True).first.wait_for()
    card.locator(tab.slider).press("Home")
    for step in range(-1, 3):
        label = re.compile(rf"^\s*step\s+{step}\s*$", re.IGNORECASE)
        card.get_by_text(label).wait_for()
        eventually(
            lambda: most_like(
                card.locator(tab.picture).screenshot(), trained.drawn["short"]
            ),
            (step, 1).__eq__,
        )
        card.locator(tab.slider).press("ArrowRight")


def test_each_number_has_a_curve(trained, page):
    numbers = written(trained.log_dir / "short", "scalars")["gradcam"]
    names = "|".join(MEASURES)
    page.goto(f"?tagFilter={names}&smoothing=0#timeseries")
    cards = page.locator("scalar-card")
    eventually(cards.count, len(MEASURES).__eq__)
    for card, tag in zip(cards.all(), sorted(MEASURES), strict=True):
        assert card.locator("tb-truncated-path").get_attribute("title") == tag
        row = card.locator("tb-data-table-content-cell")
        _, run, value, step, _ = eventually(row.all_inner_texts, lambda x: len(x) == 5)
        assert (run, step) == ("gradcam", "2")
        assert float(value) == pytest.approx(numbers[tag][2], rel=1e-3, abs=1e-4)
