"""Grad-CAM again, in NumPy loops from the equations; the package is not imported."""

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
