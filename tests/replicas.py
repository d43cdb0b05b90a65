"""Formulas again, in plain loops from the equations; the package is not imported."""

import functools
import math

import numpy as np


def gradcam(activations, gradients, score=None):
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


def gradcam_plus_plus(activations, gradients, score=None):
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


def xgradcam(activations, gradients, score=None):
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


def layercam(activations, gradients, score=None):
    """Jiang 2021: each place weighted by its positive gradient."""
    return _place_by_place(activations, gradients, lambda a, g: max(g, 0.0) * a)


def hirescam(activations, gradients, score=None):
    """Draelos 2020: each place weighted by its gradient."""
    return _place_by_place(activations, gradients, lambda a, g: g * a)


def elementwise(activations, gradients, score=None):
    """pytorch-grad-cam's GradCAMElementWise: the positive products."""
    return _place_by_place(activations, gradients, lambda a, g: max(g * a, 0.0))


def _weighted(activations, weights):
    raw = np.zeros(activations.shape[:-1], np.float64)
    for cell in np.ndindex(*raw.shape):
        for a, w in zip(activations[cell], weights, strict=True):
            raw[cell] += float(w) * float(a)
    return raw


def _by_channel(values):
    """Each channel's values in the order of the grid."""
    cells = list(np.ndindex(*values.shape[:-1]))
    return [
        [float(values[(*cell, k)]) for cell in cells] for k in range(values.shape[-1])
    ]


def _mean(values):
    return sum(values) / len(values)


def _variance(values):
    return _mean([(value - _mean(values)) ** 2 for value in values])


def _agreeing(raw, reference):
    """A map whose sign means nothing, turned to agree with another."""
    return -raw if float((raw * reference).sum()) < 0 else raw


def smoothgradcam_plus_plus(activations, moments, score=None):
    """Omeiza 2019: Grad-CAM++ of means of G, G^2 and G^3 over noisy inputs."""
    weights = []
    for a, *means in zip(*map(_by_channel, (activations, *moments)), strict=True):
        weight = 0.0
        for first, second, third in zip(*means, strict=True):
            denominator = 2 * second + third * sum(a)
            alpha = second / denominator if denominator > 0 else 0.0
            weight += alpha * max(first, 0.0)
        weights.append(weight)
    return _weighted(activations, weights)


def cam(activations, gradients, score=None):
    """Zhou 2016: behind GAP + Dense the sum of the gradient is the kernel's column."""
    return _weighted(activations, [sum(g) for g in _by_channel(gradients)])


def shapleycam(activations, evidence, score=None):
    """Cai 2025: the gradient less half of the Hessian's product with A."""
    gradients, products = map(_by_channel, evidence)
    weights = [
        _mean([g - 0.5 * ha for g, ha in zip(*channel, strict=True)])
        for channel in zip(gradients, products, strict=True)
    ]
    return _weighted(activations, weights)


def varied_channels(activations, count):
    """The channels of the largest variance over the grid, in ascending order."""
    spread = [_variance(channel) for channel in _by_channel(activations)]
    ranked = sorted(range(len(spread)), key=lambda k: spread[k], reverse=True)
    return sorted(ranked[:count])


def scorecam(activations, scores, score=None):
    """Wang 2020, algorithm 1; the score of the baseline cancels in the softmax."""
    powers = [math.exp(float(value) - float(max(scores))) for value in scores]
    weights = [0.0] * activations.shape[-1]
    chosen = varied_channels(activations, len(powers))
    for k, power in zip(chosen, powers, strict=True):
        weights[k] = power / sum(powers)
    return _weighted(activations, weights)


def ablationcam(activations, scores, score):
    """Desai 2020: what of the score falls away without a channel."""
    weights = [
        (float(score) - float(without)) / abs(float(score)) if score else 0.0
        for without in scores
    ]
    return _weighted(activations, weights)


def _first_component(values, reference):
    table = np.array(_by_channel(values)).T
    direction = np.linalg.svd(table, full_matrices=False)[2][0]
    return _agreeing(_weighted(values, direction), reference)


def eigencam(activations, nothing=None, score=None):
    """Muhammad 2020: the positions on their first right singular vector."""
    return _first_component(activations, activations.astype(np.float64).sum(-1))


def eigengradcam(activations, gradients, score=None):
    """pytorch-grad-cam's EigenGradCAM: the same of gradient times activation."""
    product = activations.astype(np.float64) * gradients.astype(np.float64)
    return _first_component(product, product.sum(-1))


def kpcacam(activations, nothing=None, score=None, *, kernel="sigmoid", gamma=None):
    """Karmani 2024: the first kernel principal component of the positions.

    Centred in feature space as in Schoelkopf 1998, equation 20; a projection is the
    entry of the eigenvector, which has length 1, times the root of the eigenvalue.
    """
    grid = activations.shape[:-1]
    gamma = 1 / activations.shape[-1] if gamma is None else gamma
    places = [activations[cell].astype(np.float64) for cell in np.ndindex(*grid)]
    alike = np.zeros((len(places), len(places)))
    for i, a in enumerate(places):
        for j, b in enumerate(places):
            if kernel == "sigmoid":
                alike[i, j] = math.tanh(gamma * float(a @ b) + 1)
            else:
                alike[i, j] = math.exp(-gamma * float((a - b) @ (a - b)))
    even = np.full(alike.shape, 1 / len(places))
    centred = alike - even @ alike - alike @ even + even @ alike @ even
    values, vectors = np.linalg.eigh(centred)
    raw = math.sqrt(max(values[-1], 0.0)) * vectors[:, -1].reshape(grid)
    return _agreeing(raw, activations.astype(np.float64).sum(-1))


def fem(activations, nothing=None, score=None, *, k=2.0):
    """Ahmed Asif Fuad 2020: where a channel stands out, its mean counts."""
    means, masks = [], np.zeros(activations.shape, np.float64)
    for channel, values in enumerate(_by_channel(activations)):
        means.append(_mean(values))
        border = means[-1] + k * math.sqrt(_variance(values))
        for cell in np.ndindex(*activations.shape[:-1]):
            masks[(*cell, channel)] = float(activations[(*cell, channel)]) > border
    return _weighted(masks, means)


def saliency(image, gradients, score=None):
    """Simonyan 2014: the channel with the largest gradient at each place."""
    raw = np.zeros(gradients.shape[:-1], np.float64)
    for cell in np.ndindex(*raw.shape):
        raw[cell] = max(abs(float(g)) for g in gradients[cell])
    return raw


def smoothgrad(image, moments, score=None):
    """Smilkov 2017: saliency of the mean gradient over noisy inputs."""
    return saliency(image, moments[0])


def guided_gradcam(image, evidence, score=None):
    """Selvaraju 2017, section 3.2: guided backpropagation where Grad-CAM is warm."""
    activations, gradients, guided, place = evidence
    return place(np.maximum(gradcam(activations, gradients), 0)) * saliency(
        image, guided
    )


def integrated_gradients(image, evidence, score=None):
    """Sundararajan 2017, equation 3: way from the baseline times mean gradient."""
    return _place_by_place(*evidence, lambda way, slope: way * slope)


def stretched(raw):
    """A map from 0 to 1, or 0 where it is flat."""
    low, high = float(raw.min()), float(raw.max())
    out = np.zeros(raw.shape, np.float64)
    for cell in np.ndindex(*raw.shape):
        out[cell] = (float(raw[cell]) - low) / (high - low) if high > low else 0.0
    return out


def fullgrad(image, products, score=None, rescale="layer"):
    """Srinivas 2019, equation 8: magnitudes of all products, rescaled and placed.

    Each product comes with what lays a map of its grid over the image.
    """
    raw = np.zeros(image.shape[:-1], np.float64)
    for product, place in products:
        product = np.abs(product)
        for k in range(product.shape[-1]):
            if rescale == "channel":
                scaled = stretched(product[..., k])
            else:
                scaled = (stretched(product) if rescale else product)[..., k]
            raw += place(scaled)
    return raw


def depth_consensus(maps, steps, starts):
    """Geometric mean of the positive parts at one bandwidth, on the first grid.

    Args:
        maps: List of the signed maps of one sample, `(*grid)`, the finest first.
        steps: How far the cells of each are apart along each axis.
        starts: Where the first cell of each lies along each axis.
    """
    widest = np.max(steps, axis=0)
    parts = []
    for one, step, start in zip(maps, steps, starts, strict=True):
        part = np.maximum(_triangle(one, widest / step), 0)
        part /= part.max()
        placed = np.zeros(maps[0].shape)
        for cell in np.ndindex(*placed.shape):
            places = (starts[0] + steps[0] * np.array(cell) - start) / step
            placed[cell] = _between(part, places)
        parts.append(placed)
    return np.prod(parts, axis=0) ** (1 / len(parts))


def _triangle(values, widths):
    for axis, width in enumerate(widths):
        values = np.apply_along_axis(_triangle_of_line, axis, values, width)
    return values


def _triangle_of_line(line, width):
    """Each cell the mean of those less than `width` away, mirrored at the ends."""
    mirrored = np.concatenate([line[::-1], line, line[::-1]])
    result = []
    for n in range(len(line)):
        away = np.abs(np.arange(len(mirrored)) - len(line) - n)
        result.append(np.average(mirrored, weights=np.maximum(1 - away / width, 0)))
    return np.array(result)


def _between(values, places):
    """Linear between the cells, beyond the ends as there."""
    for place in places:
        place = min(max(place, 0), len(values) - 1)
        low = int(place)
        high = min(low + 1, len(values) - 1)
        values = (1 - place + low) * values[low] + (place - low) * values[high]
    return values


def _read_of(gradients):
    """How much the score reads of each query of the last attention."""
    sizes = [np.sqrt((gradients[:, i] ** 2).sum()) for i in range(gradients.shape[1])]
    return np.array(sizes) / (sum(sizes) or 1.0)


def attention_rollout(activations, attention, score=None):
    """Abnar and Zuidema 2020, section 3, one sample `(heads, queries, keys)`."""
    rolled = np.eye(attention.weights[0].shape[-1])
    for weights in attention.weights:
        mean = sum(weights) / len(weights)
        rolled = (0.5 * np.eye(len(mean)) + 0.5 * mean) @ rolled
    return attention.places[0](_read_of(attention.gradients[-1]) @ rolled)


def transformer_attribution(activations, attention, score=None):
    """Chefer 2021, equations 5 and 6, without the identity that it starts from."""
    identity = np.eye(attention.weights[0].shape[-1])
    relevance = identity
    for weights, gradients in zip(attention.weights, attention.gradients, strict=True):
        spoken = sum(np.maximum(weights * gradients, 0)) / len(weights)
        relevance = relevance + spoken @ relevance
    read = _read_of(attention.gradients[-1])
    return attention.places[0](read @ (relevance - identity))


def gradsam(activations, attention, score=None):
    """Barkan 2021: attention times relu(gradient), means of heads and queries."""
    raw = 0
    for weights, gradients, place in zip(*attention, strict=True):
        keys = np.zeros(weights.shape[-1])
        for head in range(weights.shape[0]):
            for query in range(weights.shape[1]):
                positive = np.maximum(gradients[head, query], 0)
                keys += weights[head, query] * positive
        raw = raw + place(keys / (weights.shape[0] * weights.shape[1]))
    return raw


def legrad(activations, attention, score=None):
    """Bousselham 2024: the positive gradients, means of layers, heads and queries."""
    ones = [np.ones_like(weights) for weights in attention.weights]
    summed = gradsam(activations, attention._replace(weights=ones))
    return summed / len(ones)


METHODS = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "smoothgradcam++": smoothgradcam_plus_plus,
    "xgradcam": xgradcam,
    "layercam": layercam,
    "hirescam": hirescam,
    # Of each depth; `depth_consensus` joins them.
    "depth_consensus": hirescam,
    "attention_rollout": attention_rollout,
    "transformer_attribution": transformer_attribution,
    "gradsam": gradsam,
    "legrad": legrad,
    # What differs is the gradient.
    "attnlrp": hirescam,
    "libragrad": hirescam,
    "elementwise": elementwise,
    "cam": cam,
    "shapleycam": shapleycam,
    "scorecam": scorecam,
    # What differs is how the scores arise: means over noise and over fading in.
    "sscam": scorecam,
    "iscam": scorecam,
    "ablationcam": ablationcam,
    "eigencam": eigencam,
    "eigengradcam": eigengradcam,
    "kpcacam": kpcacam,
    "fem": fem,
    # Noise has no formula.
    "random": None,
    "saliency": saliency,
    "smoothgrad": smoothgrad,
    # What differs is the gradient.
    "guided_backprop": saliency,
    "guided_gradcam": guided_gradcam,
    "integrated_gradients": integrated_gradients,
    "fullgrad": fullgrad,
}


def conv(image, kernel, bias):
    """A valid convolution, one sample `(h, w, c)`, by loops."""
    kh, kw, _, filters = kernel.shape
    h, w = image.shape[0] - kh + 1, image.shape[1] - kw + 1
    out = np.zeros((h, w, filters), np.float64)
    for i in range(h):
        for j in range(w):
            patch = image[i : i + kh, j : j + kw].astype(np.float64)
            out[i, j] = np.tensordot(patch, kernel.astype(np.float64), 3) + bias
    return out


def conv_relu(image, kernel, bias):
    """A valid convolution with ReLU, one sample `(h, w, c)`, by loops."""
    return np.maximum(conv(image, kernel, bias), 0)


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


def linear(raw, shape, start=None):
    """Linear resizing of any rank, pixel centres at half integers, by loops.

    With `start`, the place of the first cell's centre, the cells are 1 apart.
    """
    out = np.zeros(shape, np.float64)
    for cell in np.ndindex(*shape):
        corners = [((), 1.0)]
        for at, size, wanted in zip(cell, raw.shape, shape, strict=True):
            place = (at + 0.5) * size / wanted - 0.5 if start is None else at - start
            place = min(max(place, 0), size - 1)
            low = int(place)
            high, part = min(low + 1, size - 1), place - low
            corners = [
                ((*corner, index), weight * share)
                for corner, weight in corners
                for index, share in ((low, 1 - part), (high, part))
            ]
        for corner, weight in corners:
            out[cell] += weight * float(raw[corner])
    return out


# Each of the two convolutions of 3x3 without padding begins a pixel further in.
FIRST_CENTRES = {"first": 1, "last": 2}


def over_image(raw, image, layer):
    """A map of a layer of `conftest.make_classifier`, where it lies in the image."""
    return linear(raw, image.shape[:-1], FIRST_CENTRES[layer])


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


def _logits(last, dense, bias, head):
    pooled = last.mean((0, 1)) if head == "gap" else last.reshape(-1)
    return pooled.astype(np.float64) @ dense.astype(np.float64) + bias


def forward(weights, image, head):
    """Activations of `first` and `last` and logits of `conftest.make_classifier`."""
    kernel1, bias1, kernel2, bias2, dense, bias = weights
    first = conv_relu(image, kernel1, bias1)
    last = conv_relu(first, kernel2, bias2)
    return {"first": first, "last": last}, _logits(last, dense, bias, head)


def backward(weights, image, head, target, guided=False):
    """Gradients of a logit at `last`, `first` and the image.

    Guided, a signal passes a ReLU only where it is positive itself.
    """
    kernel1, _, kernel2, _, dense, _ = weights
    found, _ = forward(weights, image, head)
    last = found["last"]
    slope = dense[:, target].astype(np.float64)
    if head == "gap":
        slope = np.broadcast_to(slope / (last.shape[0] * last.shape[1]), last.shape)
    slopes = {"last": slope.reshape(last.shape)}
    for name, below, relu, after, kernel in [
        ("first", found["first"], found["last"], "last", kernel2),
        ("image", image, found["first"], "first", kernel1),
    ]:
        signal = np.maximum(slopes[after], 0) if guided else slopes[after]
        slopes[name] = conv_relu_backward(below, relu, signal, kernel)
    return slopes


def masked_scores(weights, image, layer, head, target, change=None):
    """Score-CAM's scores of the image behind each channel as a mask."""
    activations = forward(weights, image, head)[0][layer]
    scores = []
    for k in range(activations.shape[-1]):
        mask = stretched(over_image(activations[..., k], image, layer))
        mask = mask if change is None else change(mask)
        masked = image.astype(np.float64) * mask[..., None]
        scores.append(forward(weights, masked, head)[1][target])
    return np.array(scores)


def ablated_scores(weights, image, layer, head, target):
    """Ablation-CAM's scores without each channel of a layer's output."""
    _, _, kernel2, bias2, dense, bias = weights
    activations = forward(weights, image, head)[0][layer]
    scores = []
    for k in range(activations.shape[-1]):
        without = activations.copy()
        without[..., k] = 0
        if layer == "first":
            without = conv_relu(without, kernel2, bias2)
        scores.append(_logits(without, dense, bias, head)[target])
    return np.array(scores)


def input_gradient(weights, image, head, target):
    return backward(weights, image, head, target)["image"]


def guided_input_gradient(weights, image, head, target):
    """Springenberg 2015: both gates at each ReLU, the forward and the backward one."""
    return backward(weights, image, head, target, guided=True)["image"]


def path_gradient(weights, image, head, target, baseline, steps):
    """Mean gradient on the way from the baseline to the image, midpoint rule."""
    total = np.zeros(image.shape, np.float64)
    for n in range(1, steps + 1):
        alpha = (n - 0.5) / steps
        point = baseline + alpha * (image.astype(np.float64) - baseline)
        total += input_gradient(weights, point, head, target)
    return total / steps


def bias_products(weights, image, head, target):
    """FullGrad's terms: input times gradient, then each convolution's bias times it."""
    _, bias1, _, bias2, _, _ = weights
    found, _ = forward(weights, image, head)
    slopes = backward(weights, image, head, target)
    return _from_centres(
        image,
        (image * slopes["image"], 0),
        (bias1 * slopes["first"] * (found["first"] > 0), 1),
        (bias2 * slopes["last"] * (found["last"] > 0), 2),
    )


def _from_centres(image, *products):
    """Products with what lays their cells, 1 apart from a first centre, on an image."""
    return [
        (x, functools.partial(linear, shape=image.shape[:-1], start=start))
        for x, start in products
    ]


def moments(weights, noisy, layer, head, target):
    """Means of G, G^2 and G^3 over noisy images, at a layer or at the `image`."""
    slopes = [backward(weights, image, head, target)[layer] for image in noisy]
    return tuple(sum(g**power for g in slopes) / len(slopes) for power in (1, 2, 3))


def normalized_bias_products(weights, image, target, epsilon=1e-3):
    """Logit, and FullGrad's terms, of conv, batch norm, ReLU, conv-ReLU, GAP, Dense.

    Batch norm with its statistics at rest is a scale and an implicit bias.
    """
    kernel1, bias1, gamma, beta, mean, variance, kernel2, bias2, dense, bias = weights
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    shift = beta - mean * scale
    convolved = conv(image, kernel1, bias1)
    first = np.maximum(convolved * scale + shift, 0)
    last = conv_relu(first, kernel2, bias2)
    slope = dense[:, target] / np.float64(last.shape[0] * last.shape[1]) * (last > 0)
    normalized = conv_relu_backward(first, last, slope, kernel2) * (first > 0)
    everywhere = np.ones(first.shape)
    bottom = conv_relu_backward(image, everywhere, normalized * scale, kernel1)
    return _logits(last, dense, bias, "gap")[target], _from_centres(
        image,
        (image * bottom, 0),
        (bias1 * normalized * scale, 1),
        (shift * normalized, 1),
        (bias2 * slope, 2),
    )


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
