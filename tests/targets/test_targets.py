"""Each target against its formula, on outputs that are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import L, graphs_of, make_classifier, randomize

import keras_gradcam as kg
from keras_gradcam import targets

RAW = {"activation": None, "normalize": None, "resize": False}
OUTPUTS = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")


def score(target, outputs=OUTPUTS):
    return np.asarray(target(tf.constant(outputs)))


def test_top_k():
    expected = -np.sort(-OUTPUTS, axis=-1)[:, :2]
    np.testing.assert_array_equal(score(targets.top_k(2)), expected)


def test_classes():
    np.testing.assert_array_equal(score(targets.classes([4, 1])), OUTPUTS[:, [4, 1]])


@pytest.mark.parametrize("label", [0, 1, [1, 0, 1]])
def test_binary(label):
    sign = 2 * np.asarray(label) - 1
    expected = OUTPUTS[:, 0] * sign
    np.testing.assert_array_equal(
        score(targets.binary(label), OUTPUTS[:, :1]), expected
    )
    np.testing.assert_array_equal(score(targets.binary(label), OUTPUTS[:, 0]), expected)


def test_multi_label():
    expected = [row[row > 0.5].sum() for row in OUTPUTS]
    np.testing.assert_allclose(score(targets.multi_label(0.5)), expected, rtol=1e-6)


def test_regression():
    np.testing.assert_array_equal(score(targets.regression(2)), OUTPUTS[:, 2])


def test_counterfactual():
    np.testing.assert_array_equal(score(targets.counterfactual(3)), -OUTPUTS[:, 3])
    np.testing.assert_array_equal(score(targets.counterfactual()), -OUTPUTS.max(-1))
    nested = targets.counterfactual(targets.regression(1))
    np.testing.assert_array_equal(score(nested), -OUTPUTS[:, 1])


@pytest.mark.parametrize("target", [None, 2])
def test_contrast(target):
    actual = score(targets.contrast(target, gamma=0.7, similar=2))
    for row, found in zip(OUTPUTS, actual, strict=True):
        c = row.argmax() if target is None else target
        others = sorted((abs(row[d] - row[c]), row[d]) for d in range(6) if d != c)
        expected = row[c] - 0.7 * np.mean([y for _, y in others[:2]])
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_segmentation():
    outputs = np.random.default_rng(1).normal(size=(2, 4, 5, 3)).astype("float32")
    mask = np.zeros((4, 5), "float32")
    mask[1:3, 2:] = 1
    np.testing.assert_allclose(
        score(targets.segmentation(1, mask=mask), outputs),
        (outputs[..., 1] * mask).sum((1, 2)),
        rtol=1e-5,
    )
    chosen = outputs.argmax(-1) == 2
    np.testing.assert_allclose(
        score(targets.segmentation(2), outputs),
        (outputs[..., 2] * chosen).sum((1, 2)),
        rtol=1e-5,
    )
    best = outputs.mean((1, 2)).argmax(-1)
    expected = [
        (y[..., c] * (y.argmax(-1) == c)).sum()
        for y, c in zip(outputs, best, strict=True)
    ]
    np.testing.assert_allclose(
        score(targets.segmentation(), outputs), expected, rtol=1e-5
    )
    one = outputs[..., :1]
    np.testing.assert_allclose(
        score(targets.segmentation(), one), (one * (one > 0)).sum((1, 2, 3)), rtol=1e-5
    )


def test_detection():
    rng = np.random.default_rng(2)
    outputs = {"boxes": rng.normal(size=(2, 7, 4)), "cls": rng.normal(size=(2, 7, 3))}
    outputs = {key: value.astype("float32") for key, value in outputs.items()}
    cls = outputs["cls"]

    def run(*args, **kwargs):
        return np.asarray(targets.detection(*args, **kwargs)(outputs))

    np.testing.assert_allclose(run(1), cls[..., 1].max(1))
    np.testing.assert_allclose(run(), cls.max((1, 2)))
    np.testing.assert_allclose(run(1, boxes=[0, 5]), cls[:, [0, 5], 1].sum(1))
    np.testing.assert_allclose(
        run(2, top=3), np.sort(cls[..., 2], 1)[:, -3:].sum(1), rtol=1e-6
    )
    np.testing.assert_allclose(run(1, scores="cls"), cls[..., 1].max(1))


def test_similarity():
    reference = OUTPUTS[1]
    expected = OUTPUTS @ reference / np.linalg.norm(OUTPUTS, axis=-1)
    expected /= np.linalg.norm(reference)
    np.testing.assert_allclose(
        score(targets.similarity(reference)), expected, rtol=1e-5
    )


def test_output():
    outputs = {"a": tf.constant(OUTPUTS), "b": tf.constant(-OUTPUTS)}
    np.testing.assert_array_equal(targets.output("b", 2)(outputs), -OUTPUTS[:, 2])
    np.testing.assert_array_equal(targets.output("b")(outputs), (-OUTPUTS).max(-1))
    inner = targets.output("a", targets.counterfactual(1))
    np.testing.assert_array_equal(inner(outputs), -OUTPUTS[:, 1])


def test_equal_targets_share_a_graph_and_different_do_not(model, images):
    cam = kg.GradCAM(model)
    cam(images, target=targets.classes([0, 1]))
    cam(images, target=targets.classes([0, 1]))
    assert len(graphs_of(cam)) == 1
    cam(images, target=targets.classes([0, 2]))
    assert len(graphs_of(cam)) == 2
    reference = np.ones(4, "float32")
    assert targets.similarity(reference) == targets.similarity(reference.copy())
    assert targets.similarity(reference) != targets.similarity(2 * reference)


SAVED = [
    targets.top_k(2),
    targets.contrast(1, gamma=0.5, similar=2),
    targets.counterfactual(targets.classes([0])),
    targets.similarity(np.arange(4.0)),
]


@pytest.mark.parametrize("target", SAVED, ids=repr)
def test_targets_are_saved_with_the_model(model, images, tmp_path, target):
    cam = kg.GradCAM(model, target=target, **RAW)
    cam.save(tmp_path / "cam.keras")
    loaded = keras.models.load_model(tmp_path / "cam.keras")
    assert loaded.target == target
    np.testing.assert_array_equal(loaded(images), cam(images))


def test_repr_names_the_call():
    assert (
        repr(targets.contrast(3)) == "targets.contrast(target=3, gamma=0.6, similar=3)"
    )


def test_help_shows_the_options_without_the_outputs():
    import inspect

    assert list(inspect.signature(targets.contrast).parameters) == [
        "target",
        "gamma",
        "similar",
    ]


def test_true_label_comes_from_the_dataset(model, images):
    labels = np.array([0, 3, 1, 2, 2])
    expected = kg.GradCAM(model)(images, target=labels)
    cam = kg.GradCAM(model, target="true")
    for y in (labels, labels[:, None], np.eye(4)[labels]):
        dataset = tf.data.Dataset.from_tensor_slices((images, y)).batch(2)
        np.testing.assert_allclose(cam.predict(dataset, verbose=0), expected, atol=1e-6)
    with pytest.raises(ValueError, match="must bring labels"):
        cam.predict(images, verbose=0)
    with pytest.raises(ValueError, match="must bring labels"):
        cam(images)


def test_score_objects_of_tf_keras_vis(model, images):
    scores = pytest.importorskip("tf_keras_vis.utils.scores")
    cam = kg.GradCAM(model)
    np.testing.assert_allclose(
        cam(images, target=scores.CategoricalScore([2])),
        cam(images, target=2),
        atol=1e-6,
    )
    each = [0, 1, 2, 3, 0]
    np.testing.assert_allclose(
        cam(images, target=scores.CategoricalScore(each)),
        cam(images, target=each),
        atol=1e-6,
    )
    with pytest.raises(ValueError, match=r"It returned shape \(2,\) for a batch of 5"):
        cam(images, target=scores.CategoricalScore([0, 1]))
    binary = make_classifier(activation="sigmoid", classes=1)
    np.testing.assert_allclose(
        kg.GradCAM(binary, **RAW)(images, target=scores.BinaryScore(False)),
        kg.GradCAM(binary, **RAW)(images, target=0),
        atol=1e-6,
    )


def test_maps_of_a_small_detector(images):
    inputs = keras.Input((16, 12, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="neck")(
        inputs
    )
    outputs = {
        "boxes": L.Reshape((-1, 4))(L.Conv2D(8, 1)(x)),
        "cls_logits": L.Reshape((-1, 3))(L.Conv2D(6, 1)(x)),
    }
    model = randomize(keras.Model(inputs, outputs))
    cam = kg.GradCAM(model, "neck", target=targets.detection(1), **RAW)
    # The score is that of one anchor: only its cell has a gradient.
    cells = (np.abs(cam.gradients(images)) > 0).any(-1).sum((1, 2))
    np.testing.assert_array_equal(cells, np.ones(5))
    best = model(images)["cls_logits"].numpy()[..., 1].argmax(1) // 2
    where = np.abs(cam.gradients(images)).sum(-1).reshape(5, -1).argmax(-1)
    np.testing.assert_array_equal(where, best)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("one output, there is no output 0 to pick", targets.output(0)),
        ("explains a model with one unit", targets.binary()),
        ("explains an output `\\(batch, height", targets.segmentation(1)),
        ("one score for each sample", lambda outputs: outputs[0]),
    ],
)
def test_targets_that_do_not_fit_the_model_raise(model, images, text, target):
    with pytest.raises(ValueError, match=text):
        kg.GradCAM(model)(images, target=target)


@pytest.mark.parametrize(
    ("text", "target", "outputs"),
    [
        (
            r"`indices` must be in the range 0 to 5.*\[6\]",
            targets.classes([6]),
            OUTPUTS,
        ),
        (r"`index` must be in the range 0 to 5", targets.regression(9), OUTPUTS),
        (r"`target` must be in the range 0 to 5", targets.counterfactual(7), OUTPUTS),
        (
            r"`similar` must be at most 5, as .* other classes. .* similar=6",
            targets.contrast(similar=6),
            OUTPUTS,
        ),
        (
            r"`mask` must have the size of the model's output, \(4, 5\)",
            targets.segmentation(0, mask=np.ones((5, 4))),
            np.zeros((2, 4, 5, 3), "float32"),
        ),
        (r"must name the output that holds", targets.detection(), {"a": OUTPUTS}),
        (
            r"no output 'c'. Its outputs are \['a', 'b'\]",
            targets.output("c"),
            {"a": 1, "b": 2},
        ),
        (r"several outputs", targets.top_k(1), {"a": OUTPUTS, "b": OUTPUTS}),
    ],
)
def test_errors(text, target, outputs):
    with pytest.raises(ValueError, match=text):
        target(outputs)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: targets.classes([]), r"`indices` must be a list of ints.*=\[\]"),
        (lambda: targets.classes(3), "`indices` must be a list of ints.*=3"),
        (lambda: targets.top_k(0), "`k` must be an int from 1 on.*k=0"),
        (lambda: targets.top_k(True), "`k` must be an int from 1 on.*k=True"),
        (lambda: targets.binary(2), "`label` must be 0 or 1.*label=2"),
        (lambda: targets.contrast("cat"), "`target` must be an int.*'cat'"),
        (lambda: targets.contrast(gamma=None), "`gamma` must be a number.*None"),
        (lambda: targets.multi_label("high"), "`threshold` must be a number"),
        (lambda: targets.regression(1.5), "`index` must be an int.*1.5"),
        (lambda: targets.detection(boxes=[]), "`boxes` must be a list of ints"),
        (lambda: targets.segmentation(1, "all"), "`mask` must be an array"),
        (lambda: targets.similarity("x"), "`reference` must be an array"),
    ],
)
def test_options_that_cannot_be_right_are_refused_at_once(make, text):
    with pytest.raises(ValueError, match=text):
        make()
