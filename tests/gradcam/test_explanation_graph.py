"""What runs for each batch: one graph, nothing in it that is not needed, bytes out."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import OF_CNNS, graphs_of, make_classifier, methods_of, randomize

import keras_gradcam as kg
from keras_gradcam.maps import normalization

L = keras.layers


def graph_of(cam, images, target=1):
    """The graph that a call runs."""
    cam(images, target=target)
    (graph,) = graphs_of(cam)
    return graph


def kinds_of(graph):
    """The kinds of operations that run: those that something else depends on."""
    return list(_kinds(graph.graph))


def _kinds(graph):
    waiting = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    seen = set()
    while waiting:
        op = waiting.pop()
        if op.name not in seen:
            seen.add(op.name)
            waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
            yield op.type
    # Bodies of loops.
    for function in graph._functions.values():
        yield from _kinds(function.graph)


# Only what is needed.


def test_only_what_follows_the_layer_is_differentiated(images):
    layers = [L.Conv2D(3, 3, activation="relu", name=f"conv_{n}") for n in range(4)]
    head = [L.GlobalAveragePooling2D(), L.Dense(4, activation="softmax")]
    model = keras.Sequential([keras.Input((16, 12, 3)), *layers, *head])
    for n in range(4):
        kinds = kinds_of(graph_of(kg.GradCAM(model, f"conv_{n}"), images))
        assert kinds.count("Conv2D") == 4
        assert kinds.count("Conv2DBackpropInput") == 3 - n
        # Weights have no gradients.
        assert kinds.count("Conv2DBackpropFilter") == 0
        # Of the dense layer: the product, and what it sends back.
        assert kinds.count("MatMul") == 2


@pytest.mark.parametrize("method", methods_of(OF_CNNS))
def test_no_method_asks_for_gradients_of_weights(images, method):
    graph = graph_of(kg.GradCAM(make_classifier(), method=method), images)
    assert "Conv2DBackpropFilter" not in kinds_of(graph)


@pytest.mark.parametrize("method", methods_of(OF_CNNS))
def test_nothing_leaves_the_graph_on_the_way(images, method):
    graph = graph_of(kg.GradCAM(make_classifier(), method=method), images)
    assert not [kind for kind in kinds_of(graph) if "PyFunc" in kind]
    # From the images to finished maps.
    heatmaps, _, _ = graph.structured_outputs
    assert heatmaps.shape[1:] == (16, 12)


def test_the_last_layer_costs_no_second_forward_pass(images):
    model = make_classifier()
    function = tf.function(lambda x: model(x, training=False))
    forward = kinds_of(function.get_concrete_function(images))
    kinds = kinds_of(graph_of(kg.GradCAM(model), images))
    for kind in ("Conv2D", "BiasAdd", "MatMul", "Softmax"):
        # What is sent back through the dense layer is the one product more.
        more = kind == "MatMul"
        assert kinds.count(kind) <= forward.count(kind) + more, kind
    assert kinds.count("Conv2D") == 2


# XLA.


def compiled(cam, images, stage):
    function = tf.function(lambda x: cam(x, target=1), jit_compile=True)
    return function.experimental_get_compiler_ir(images)(stage=stage)


@pytest.mark.parametrize("method", methods_of(OF_CNNS))
def test_xla_has_one_program_of_static_shapes(images, method):
    """What a TPU needs: it cannot call the host, nor work with sizes it finds out."""
    cam = kg.GradCAM(make_classifier(), method=method)
    program = compiled(cam, tf.constant(images), "optimized_hlo")
    check_program(program)
    assert "f32[5,16,12]" in program


def check_program(program):
    assert len(re.findall("^HloModule", program, re.MULTILINE)) == 1
    assert len(re.findall("^ENTRY", program, re.MULTILINE)) == 1
    # Sizes that are found out are written as bounds.
    assert not re.findall(r"\[[^\]]*<=", program)
    kinds = set(re.findall(r" ([a-z][\w-]*)\(", program))
    assert not kinds & {
        "infeed",
        "outfeed",
        "send",
        "recv",
        "set-dimension-size",
        "get-dimension-size",
    }
    assert "custom-call" not in kinds


def test_the_check_of_programs_finds_what_it_looks_for(images):
    def dynamic(x):
        return tf.unique(tf.reshape(x, [-1]))[0]

    def called(x):
        return tf.linalg.eigh(x)[0]

    for function in (dynamic, called):
        program = tf.function(function, jit_compile=True)
        program = program.experimental_get_compiler_ir(
            tf.constant(images[:, :3, :3, 0])
        )
        with pytest.raises(AssertionError):
            check_program(program(stage="hlo"))


@pytest.mark.parametrize("jit_compile", [True, False])
def test_the_whole_graph_of_a_call_is_compiled(images, jit_compile):
    cam = kg.GradCAM(make_classifier(), jit_compile=jit_compile)
    definition = graph_of(cam, images).function_def
    assert definition.attr["_XlaMustCompile"].b is jit_compile


# Maps for large jobs.


@pytest.mark.parametrize("dtype", normalization.OUTPUT_DTYPES)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_output_dtype(model, images, dtype, jit_compile, tmp_path):
    cam = kg.GradCAM(model, output_dtype=dtype, jit_compile=jit_compile)
    expected = kg.GradCAM(model)(images).numpy()
    found = cam(images)
    assert found.dtype == dtype
    assert cam.predict(images, batch_size=2, verbose=0).dtype == dtype
    unit, error = {"uint8": (255, 0.5001), "float16": (1, 5e-4), "float32": (1, 2e-6)}[
        dtype
    ]
    np.testing.assert_allclose(
        np.asarray(found, "float32"), unit * expected, atol=error
    )
    assert np.asarray(found).max() == unit
    cam.save(tmp_path / "cam.keras")
    again = keras.saving.load_model(tmp_path / "cam.keras")
    assert again.output_dtype == dtype
    np.testing.assert_array_equal(again(images), found)
    if not jit_compile:
        cam.export(tmp_path / "served", verbose=False)
        served = tf.saved_model.load(tmp_path / "served")
        np.testing.assert_array_equal(served.serve(images), found)


@pytest.mark.parametrize("dtype", normalization.OUTPUT_DTYPES)
def test_output_dtype_of_several_layers_and_of_one_fused(model, images, dtype):
    layers = ["first", "last"]
    for one in kg.GradCAM(model, layers, output_dtype=dtype)(images):
        assert one.dtype == dtype
    fused = kg.GradCAM(model, layers, fuse="mean", output_dtype=dtype)
    assert fused(images).dtype == dtype


def test_bytes_round_to_the_nearest_and_have_no_nan():
    values = np.array([[0, 0.4 / 255, 0.6 / 255, 0.999, 1, np.nan, np.inf, -1]])
    found = normalization.stored(values.astype("float32"), "uint8")
    np.testing.assert_array_equal(found, [[0, 0, 1, 255, 255, 0, 255, 0]])


def test_warnings_are_those_of_the_maps_before_they_become_bytes(images):
    model = make_classifier(convolution="linear")
    cam = kg.GradCAM(model, output_dtype="uint8")
    with pytest.warns(kg.diagnosis.EmptyMapWarning, match="5 of the maps hold NaN"):
        cam(np.full_like(images, 1e38))


@pytest.mark.parametrize(
    "options",
    [
        {"normalize": None},
        {"activation": None},
        {"activation": tf.tanh, "normalize": "batch"},
    ],
)
def test_bytes_are_for_maps_from_0_to_1(model, options):
    with pytest.raises(ValueError, match="needs maps in \\[0, 1\\]"):
        kg.GradCAM(model, output_dtype="uint8", **options)
    kg.GradCAM(model, output_dtype="float16", **options)
    with pytest.raises(ValueError, match="must be one of .*output_dtype='int8'"):
        kg.GradCAM(model, output_dtype="int8")


def test_bytes_may_be_stretched_maps(model, images):
    options = {"activation": None, "normalize": "minmax"}
    found = kg.GradCAM(model, output_dtype="uint8", **options)(images)
    expected = 255 * kg.GradCAM(model, **options)(images).numpy()
    np.testing.assert_allclose(np.asarray(found, "float32"), expected, atol=0.5001)


def test_bytes_are_drawn_as_the_maps_that_they_were(model, images):
    heatmaps = kg.GradCAM(model)(images).numpy()
    in_bytes = kg.GradCAM(model, output_dtype="uint8")(images).numpy()
    for draw in (kg.colorize, lambda h: kg.overlay(images, h)):
        difference = draw(heatmaps).astype(int) - draw(in_bytes)
        # A step of the colors, at the most.
        assert np.abs(difference).max() <= 5
        assert np.abs(difference).mean() < 0.5


# What is known of each map.


def test_explanations_tell_class_and_score(images):
    model = randomize(make_classifier())
    head = model.layers[-1]
    features = keras.Model(model.inputs[0], head.input)(images)
    logits = (features @ head.kernel + head.bias).numpy()
    classes = [3, 0, 1, 2, 0]
    for target, expected in [
        (None, logits.argmax(1)),
        (2, [2] * 5),
        (classes, classes),
    ]:
        found = kg.GradCAM(model).explanations(images, target)
        np.testing.assert_array_equal(found["classes"], expected)
        scores = logits[np.arange(5), expected]
        np.testing.assert_allclose(found["scores"], scores, rtol=1e-5)
        np.testing.assert_array_equal(
            found["heatmaps"], kg.GradCAM(model)(images, target)
        )
        assert np.asarray(found["finite"]).all()
    found = kg.GradCAM(model).explanations(images, lambda y: y[:, 1:3])
    np.testing.assert_array_equal(found["classes"], [-1] * 5)
    np.testing.assert_allclose(found["scores"], logits[:, 1:3], rtol=1e-5)
    probable = kg.GradCAM(model, logits=False).explanations(images)
    np.testing.assert_allclose(
        probable["scores"], model(images).numpy().max(1), rtol=1e-5
    )


def test_explanations_of_one_unit_have_two_classes(images):
    model = make_classifier(activation="sigmoid", classes=1)
    found = kg.GradCAM(model).explanations(images)
    expected = (model(images)[:, 0] > 0.5).numpy()
    np.testing.assert_array_equal(found["classes"], expected)


@pytest.mark.parametrize("smooth", ["noise", "tta"])
def test_scores_are_those_of_the_image_as_it_is(model, images, smooth):
    plain = kg.GradCAM(model).explanations(images)
    smoothed = kg.GradCAM(model, smooth=smooth).explanations(images)
    for key in ("classes", "scores"):
        np.testing.assert_allclose(smoothed[key], plain[key], rtol=1e-6)


def test_trace_of_explanations(model, images):
    cam = kg.GradCAM(model)
    spec = cam.trace(images, part="explanations")
    assert spec["heatmaps"].shape == (None, 16, 12)
    (graph,) = graphs_of(cam)
    cam.explanations(images[:2])
    assert graphs_of(cam) == [graph]
