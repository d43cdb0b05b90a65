"""Where panels and numbers go besides TensorBoard: picture files and animations.

A sink is a callable `(step, panels, scalars)`: the step, an int; a dict from tag to a
list of pictures, uint8 `(height, width, 3)`, one for each sample; a dict from name to
float. Either dict may be empty. If it has a method `close`, that is called when a
training ends.
"""

import re
import zlib
from pathlib import Path

import numpy as np

from keras_gradcam.pictures import headed

# More frames than this make an animation that nobody waits for.
MAX_FRAMES = 100

# The tag of many layers is longer than a file's name may be.
MAX_NAME = 120


class PictureFiles:
    """Writes each panel as a PNG file, and each sample's way through the training.

    A picture is `directory/tag/sample/step.png`, such as `gradcam/last/00/000003.png`;
    that of the untrained model is `-00001.png`.
    The animations `gradcam/last/00.webp` are made when the training ends, of at most
    100 steps; `close()` makes them of an interrupted training.

    Args:
        directory: Where to write, made if missing. Pictures of an earlier training
            there are replaced where tag, sample and step are the same, and left alone
            otherwise.
        animation: `"webp"`, `"gif"` (fewer colours, opens everywhere), or `None` for
            none. Defaults to `None`.
        duration: Seconds that each step is shown for. Defaults to `0.5`.

    Raises:
        ValueError: If `animation` is none of these.
        OSError: From a call, if a file cannot be written.

    Example:

    ```python
    pictures = kg.sinks.PictureFiles("pictures", animation="webp")
    callback = kg.GradCAMCallback(x_val, y_val, sinks=[pictures])
    ```
    """

    def __init__(self, directory, animation=None, duration=0.5):
        if animation not in (None, "gif", "webp"):
            raise ValueError(
                "Argument `animation` must be 'webp', 'gif' or None. Received: "
                f"animation={animation!r}"
            )
        # Absolute: a training may change its directory.
        self.directory = Path(directory).expanduser().absolute()
        self.animation = animation
        self.duration = duration
        # Of each folder, the steps that belong to this training.
        self._steps: dict = {}

    def __call__(self, step, panels, scalars):
        from PIL import Image

        for tag, pictures in panels.items():
            for number, picture in enumerate(pictures):
                folder = self.directory / _file_name(tag) / f"{number:02d}"
                folder.mkdir(parents=True, exist_ok=True)
                if folder not in self._steps:
                    self._steps[folder] = _steps_before(step, folder)
                # A training that begins anew leaves the steps of the last one behind.
                earlier = [s for s in self._steps[folder] if s < step]
                self._steps[folder] = [*earlier, step]
                # Fast, as TensorBoard's own pictures are.
                Image.fromarray(picture).save(_picture(folder, step), compress_level=1)

    def close(self):
        if self.animation is not None:
            for folder, steps in self._steps.items():
                self._animate(folder, steps)

    def _animate(self, folder, steps):
        from PIL import Image

        chosen = np.linspace(0, len(steps) - 1, min(len(steps), MAX_FRAMES))
        frames = []
        for index in np.unique(chosen.round().astype(int)):
            path = _picture(folder, steps[index])
            if path.exists():
                picture = np.asarray(Image.open(path))
                picture = headed(picture, f"step {steps[index]}")
                frames.append(Image.fromarray(picture))
        # An earlier training may have left pictures of another size.
        frames = [frame for frame in frames if frame.size == frames[-1].size]
        if not frames:
            return
        shown = round(1000 * self.duration)
        frames[0].save(
            folder.with_suffix(f".{self.animation}"),
            save_all=True,
            append_images=frames[1:],
            # The last one is what the training led to.
            duration=[shown] * (len(frames) - 1) + [4 * shown],
            loop=0,
        )


def _file_name(tag):
    """A tag as a path that every file system takes."""
    name = re.sub(r'[<>:"\\|?*]', "_", tag)
    if len(name) <= MAX_NAME:
        return name
    return f"{name[:MAX_NAME]}-{zlib.crc32(name.encode()):08x}"


def _picture(folder, step):
    return folder / f"{step:06d}.png"


def _steps_before(step, folder):
    """Steps that an interrupted training has left in a folder."""
    steps = [
        int(p.stem) for p in folder.glob("*.png") if re.fullmatch(r"-?\d+", p.stem)
    ]
    return sorted(s for s in steps if s < step)
