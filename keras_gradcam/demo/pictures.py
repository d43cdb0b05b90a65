"""The demo's pictures: one of each epoch, and one of the whole training."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_gradcam.pictures import grid, overlay, panel, to_uint8

CELL = 128

MARGIN = 6

HEADING = 48

SHEET_ROWS = 6

SHEET_MAPS = 7

INK, FAINT_INK, BOX_COLOR = (32, 33, 36), (110, 113, 118), (255, 179, 0)


def of_epoch(pictures):
    """Two columns of panels, as in TensorBoard."""
    snapshot = pictures.snapshots[-1]
    panels = [
        panel(image, heatmap, f"true {name}, predicted {guess}", correct)
        for image, heatmap, name, guess, correct in zip(
            pictures.images,
            snapshot.heatmaps,
            pictures.names,
            snapshot.guesses,
            snapshot.correct,
            strict=True,
        )
    ]
    return Image.fromarray(grid(panels, columns=2, margin=MARGIN))


def of_training(pictures):
    """A row for each sample: the input, then the map's way through the training."""
    kept = np.linspace(0, len(pictures.snapshots) - 1, SHEET_MAPS).round().astype(int)
    snapshots = [pictures.snapshots[n] for n in np.unique(kept)]
    rows = range(min(SHEET_ROWS, len(pictures.images)))
    cells = [cell for row in rows for cell in _sheet_row(pictures, row, snapshots)]
    cells = grid(cells, columns=1 + len(snapshots), margin=MARGIN)
    heading = np.full((HEADING, *cells.shape[1:]), 255, np.uint8)
    sheet = Image.fromarray(np.concatenate([heading, cells]))
    for column, heading in enumerate(
        [("input", ""), *(snapshot[:2] for snapshot in snapshots)]
    ):
        _write_heading(sheet, column, *heading)
    return sheet


def _sheet_row(pictures, row, snapshots):
    picture = to_uint8(pictures.images[row])
    picture = Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.BICUBIC)
    outlined = picture.copy()
    if pictures.task.boxes is not None:
        top, left, bottom, right = pictures.task.boxes[pictures.shown[row]]
        scale = CELL / pictures.images.shape[1]
        corners = [left * scale, top * scale, right * scale - 1, bottom * scale - 1]
        ImageDraw.Draw(outlined).rectangle(corners, outline=BOX_COLOR, width=2)
    yield panel(np.asarray(outlined), [], pictures.names[row], min_size=CELL)
    for snapshot in snapshots:
        seen = overlay(np.asarray(picture), snapshot.heatmaps[row])
        yield panel(
            seen, [], snapshot.guesses[row], snapshot.correct[row], min_size=CELL
        )


def _write_heading(sheet, column, heading, score):
    middle = MARGIN + column * (CELL + MARGIN) + CELL // 2
    draw = ImageDraw.Draw(sheet)
    for y, text, size, color in ((18, heading, 17, INK), (38, score, 13, FAINT_INK)):
        font = ImageFont.load_default(size)
        draw.text((middle, y), text, color, font, anchor="mm")
