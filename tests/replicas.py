"""Formulas again, in plain loops from the equations; the package is not imported."""

import math

import numpy as np


def gradcam(activations, gradients):
    """Selvaraju 2017, equations 1 and 2 without the ReLU, one sample `(*grid, K)`."""
    grid, channels = activations.shape[:-1], activations.shape[-1]
    cells = list(np.ndindex(*grid))
    raw = np.zeros(grid, np.float64)
    for k in range(channels):
        alpha = 0.0
        for cell in cells:
            alpha += float(gradients[(*cell, k)])
        alpha /= len(cells)
        for cell in cells:
            raw[cell] += alpha * float(activations[(*cell, k)])
    return raw


def gradcam_plus_plus(activations, gradients):
    """Chattopadhay 2018, equation 19 for alpha, without the last ReLU.

    Of an exponential score the second and third derivatives are the powers of the
    first, times a factor that cancels.
    """
    grid, channels = activations.shape[:-1], activations.shape[-1]
    cells = list(np.ndindex(*grid))
    raw = np.zeros(grid, np.float64)
    for k in range(channels):
        total = sum(float(activations[(*cell, k)]) for cell in cells)
        weight = 0.0
        for cell in cells:
            first = float(gradients[(*cell, k)])
            second, third = first**2, first**3
            denominator = 2 * second + total * third
            alpha = second / denominator if denominator > 0 else 0.0
            weight += alpha * max(first, 0.0)
        for cell in cells:
            raw[cell] += weight * float(activations[(*cell, k)])
    return raw


def xgradcam(activations, gradients):
    """Fu 2020: gradients weighted by each place's share of the activation."""
    grid, channels = activations.shape[:-1], activations.shape[-1]
    cells = list(np.ndindex(*grid))
    raw = np.zeros(grid, np.float64)
    for k in range(channels):
        total = sum(float(activations[(*cell, k)]) for cell in cells)
        weight = 0.0
        for cell in cells:
            share = float(activations[(*cell, k)]) / total if total else 0.0
            weight += share * float(gradients[(*cell, k)])
        for cell in cells:
            raw[cell] += weight * float(activations[(*cell, k)])
    return raw


def _place_by_place(activations, gradients, product):
    raw = np.zeros(activations.shape[:-1], np.float64)
    for cell in np.ndindex(*raw.shape):
        for a, g in zip(activations[cell], gradients[cell], strict=True):
            raw[cell] += product(float(a), float(g))
    return raw


def layercam(activations, gradients):
    """Jiang 2021: each place weighted by its positive gradient."""
    return _place_by_place(activations, gradients, lambda a, g: max(g, 0.0) * a)


def hirescam(activations, gradients):
    """Draelos 2020: each place weighted by its gradient."""
    return _place_by_place(activations, gradients, lambda a, g: g * a)


def elementwise(activations, gradients):
    """pytorch-grad-cam's GradCAMElementWise: the positive products."""
    return _place_by_place(activations, gradients, lambda a, g: max(g * a, 0.0))


METHODS = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
    "layercam": layercam,
    "hirescam": hirescam,
    "elementwise": elementwise,
}


def conv_relu(image, kernel, bias):
    """A valid convolution with ReLU, one sample `(h, w, c)`, by loops."""
    kh, kw, _, filters = kernel.shape
    h, w = image.shape[0] - kh + 1, image.shape[1] - kw + 1
    out = np.zeros((h, w, filters), np.float64)
    for i in range(h):
        for j in range(w):
            patch = image[i : i + kh, j : j + kw].astype(np.float64)
            out[i, j] = np.tensordot(patch, kernel.astype(np.float64), 3) + bias
    return np.maximum(out, 0)


def conv_relu_backward(image, output, slope, kernel):
    """Gradient of a score with respect to the input of `conv_relu`."""
    kh, kw, _, _ = kernel.shape
    back = np.zeros(image.shape, np.float64)
    slope = slope * (output > 0)
    for i in range(output.shape[0]):
        for j in range(output.shape[1]):
            back[i : i + kh, j : j + kw] += kernel.astype(np.float64) @ slope[i, j]
    return back


def bilinear(raw, height, width):
    """Bilinear resizing with pixel centres at half integers, by loops."""
    out = np.zeros((height, width), np.float64)
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * raw.shape[0] / height - 0.5, 0), raw.shape[0] - 1)
            x = min(max((j + 0.5) * raw.shape[1] / width - 0.5, 0), raw.shape[1] - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, raw.shape[0] - 1), min(x0 + 1, raw.shape[1] - 1)
            fy, fx = y - y0, x - x0
            out[i, j] = (1 - fy) * ((1 - fx) * raw[y0, x0] + fx * raw[y0, x1]) + fy * (
                (1 - fx) * raw[y1, x0] + fx * raw[y1, x1]
            )
    return out


def classifier_gradcam(weights, image, layer, head, target=None):
    """Logits, A, dY/dA and the raw map of `conftest.make_classifier`, one image."""
    kernel1, bias1, kernel2, bias2, dense, bias = weights
    first = conv_relu(image, kernel1, bias1)
    last = conv_relu(first, kernel2, bias2)
    if head == "gap":
        logits = last.mean((0, 1)) @ dense + bias
        target = int(np.argmax(logits)) if target is None else target
        slope = np.broadcast_to(
            dense[:, target] / (last.shape[0] * last.shape[1]), last.shape
        )
    else:
        logits = last.reshape(-1) @ dense + bias
        target = int(np.argmax(logits)) if target is None else target
        slope = dense[:, target].reshape(last.shape)
    activations = last
    if layer == "first":
        activations, slope = first, conv_relu_backward(first, last, slope, kernel2)
    return logits, activations, slope, gradcam(activations, slope)


def _shares(heatmap, part):
    """Each position's share of the heat of one map."""
    heat = [part(float(value)) for value in heatmap.ravel()]
    return [value / sum(heat) if sum(heat) else 0.0 for value in heat]


def entropy(heatmaps):
    """Shannon's entropy of the shares of the heat, relative to that of even shares."""
    found = []
    for heatmap in heatmaps:
        shares = _shares(heatmap, abs)
        if any(shares):
            bits = sum(p * math.log2(1 / p) for p in shares if p)
            found.append(bits / math.log2(len(shares)))
    return sum(found) / len(found)


def drift(before, after):
    """What of the heat would have to be carried elsewhere to make one map the other."""
    moved = 0.0
    for old, new in zip(before, after, strict=True):
        old, new = _shares(old, abs), _shares(new, abs)
        if any(old) != any(new):
            moved += 1
        else:
            moved += sum(max(q - p, 0) for p, q in zip(old, new, strict=True))
    return moved / len(before)


def heat_inside(heatmaps, masks):
    """The energy-based pointing game of Score-CAM's section 4.3."""
    inside = 0.0
    for heatmap, mask in zip(heatmaps, masks, strict=True):
        shares = _shares(heatmap, lambda value: max(value, 0.0))
        inside += sum(p for p, hit in zip(shares, mask.ravel(), strict=True) if hit)
    return inside / len(heatmaps)
