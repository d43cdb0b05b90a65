"""What pytorch-grad-cam's maps cost next to a forward pass of the same batch.

    .venv-peers/bin/python benchmarks/torch_other.py --batch 32 --seconds 60

Its `GradCAM`, kept, at the last block of a ResNet50 as torchvision builds it, written
out below with weights of no training, for the predicted class. Both run in turn in one
process, from NumPy to NumPy: the forward pass in inference mode to logits, the maps to
heatmaps of the images' size, normalised. Times are medians, the ratio is the median of
the rounds' ratios. The first call is in seconds. Needs the environment of `make peers`.
"""

import argparse
import json
import pathlib
import sys
from importlib.metadata import version

import numpy as np
import timing
import torch
from torch import nn

sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests"))

from peers import stubs

stubs.install()

from pytorch_grad_cam import GradCAM  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    shape = (args.batch, 3, args.size, args.size)
    images = np.random.default_rng(0).random(shape, dtype="float32")
    contestants = _contestants(resnet50().eval(), images)
    first = {name: timing.seconds(run) for name, run in contestants.items()}
    for run in contestants.values():
        run()
    found = timing.rounds(contestants, args.seconds)
    result = {
        "model": "ResNet50",
        "size": args.size,
        "batch": args.batch,
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "grad-cam")},
        "first_call_s": {name: round(value, 2) for name, value in first.items()},
        "median_ms": timing.medians_ms(found),
        **timing.over(found, "maps", "forward"),
    }
    print(json.dumps(result, indent=2))


def _contestants(model, images):
    peer = GradCAM(model=model, target_layers=[model[-4][-1]])

    def forward():
        with torch.inference_mode():
            return model(torch.from_numpy(images)).numpy()

    return {
        "forward": forward,
        "maps": lambda: peer(input_tensor=torch.from_numpy(images), targets=None),
    }


def resnet50(classes=1000):
    """He et al., 2016, with the stride in the 3x3 convolution."""
    layers = [*_convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        stage = [Bottleneck(channels, width, stride)]
        channels = 4 * width
        stage += [Bottleneck(channels, width, 1) for _ in range(blocks - 1)]
        layers.append(nn.Sequential(*stage))
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*layers, *pooled)


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.branch = nn.Sequential(
            *_convolution(channels, width, 1),
            nn.ReLU(inplace=True),
            *_convolution(width, width, 3, stride),
            nn.ReLU(inplace=True),
            *_convolution(width, 4 * width, 1),
        )
        same = channels == 4 * width and stride == 1
        way = [] if same else _convolution(channels, 4 * width, 1, stride)
        self.shortcut = nn.Sequential(*way)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.branch(x) + self.shortcut(x))


def _convolution(channels, filters, size, stride=1):
    options = {"stride": stride, "padding": size // 2, "bias": False}
    return [nn.Conv2d(channels, filters, size, **options), nn.BatchNorm2d(filters)]


if __name__ == "__main__":
    main()
