"""Makes the README's pictures of TensorBoard, from a training of the demo's network.

python tests/screenshots.py docs
"""

import io
import json
import pathlib
import sys
import tempfile

import keras
import PIL.Image
from tensorboard_server import TABS, browser, eventually, tensorboard

import keras_gradcam as kg
from keras_gradcam.demo import tasks, training

SCENES = 4000
EPOCHS = 8
# As many are measured, the first few are shown.
SAMPLES = 32
COLUMNS = 3
CURVES = ("pointing", "inside", "entropy")
MARGIN = 8


def main(folder):
    with tempfile.TemporaryDirectory() as log_dir:
        train(log_dir)
        with (
            tensorboard(log_dir, "--samples_per_plugin", "images=1000") as server,
            browser(server.url, width=1500, height=1100) as page,
        ):
            eventually(server.last_steps, {"gradcam": EPOCHS - 1}.__eq__)
            save(images(page), folder / "tensorboard.png")
            save(time_series(page), folder / "time_series.png")


def train(log_dir):
    keras.utils.set_random_seed(0)
    task = tasks.digits_task(SCENES)
    model = training.build_network(task.images.shape[1:], len(task.class_names))
    rate = training._one_cycle(EPOCHS * len(task.train))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    watch = kg.GradCAMCallback(
        task.images,
        task.labels,
        boxes=task.boxes,
        log_dir=log_dir,
        num_samples=SAMPLES,
    )
    # The dataset shuffles, and Keras warns of its own default.
    model.fit(task.train, epochs=EPOCHS, shuffle=False, verbose=2, callbacks=[watch])


def images(page):
    """A row of cards at the first step, and below it the same at the last one."""
    tab = TABS["images"]
    page.goto(tab.address)
    page.locator(tab.card).first.wait_for()
    cards = page.locator(tab.card).all()[:COLUMNS]
    rows = []
    for key in ("Home", "End"):
        for card in cards:
            card.locator(tab.slider).press(key)
            # A slider that has the focus has a halo.
            card.locator(tab.slider).blur()
            card.locator("paper-spinner-lite").wait_for(state="hidden")
        rows.append(screenshot(page, cards))
    return stack(rows)


def time_series(page):
    """A row of curves, and below it a row of cards."""
    pins = [{"plugin": "scalars", "tag": f"gradcam/{name}"} for name in CURVES]
    page.goto(f"?smoothing=0&pinnedCards={json.dumps(pins)}#timeseries")
    # The untrained model is no outlier.
    page.get_by_label("Ignore outliers in chart scaling").uncheck()
    page.get_by_role("button", name="Settings").click()
    page.wait_for_load_state("networkidle")
    rows = [
        page.locator(card).all()[:COLUMNS] for card in ("scalar-card", "image-card")
    ]
    return screenshot(page, sum(rows, []))


def screenshot(page, parts):
    """The area of a page that holds all `parts`, once nothing changes any more."""
    taken = [b""]

    def is_at_rest():
        taken.append(page.screenshot(clip=area_of(parts)))
        return taken[-1] == taken[-2]

    eventually(is_at_rest, bool)
    return PIL.Image.open(io.BytesIO(taken[-1])).convert("RGB")


def area_of(parts):
    boxes = [part.bounding_box() for part in parts]
    left, top = (min(box[side] for box in boxes) - MARGIN for side in "xy")
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def stack(pictures):
    heights = [picture.height for picture in pictures]
    whole = PIL.Image.new("RGB", (pictures[0].width, sum(heights)))
    for number, picture in enumerate(pictures):
        whole.paste(picture, (0, sum(heights[:number])))
    return whole


def save(picture, path):
    # 256 colours take less than half the space.
    picture.quantize().save(path, optimize=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
