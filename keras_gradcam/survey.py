"""What places a model has to look at, and which of them a score depends on."""

import dataclasses

import tensorflow as tf
from keras import tree

from keras_gradcam import anatomy, scoring, slopes
from keras_gradcam.question import Question, look


def survey(model, signature, target=None, logits=True, reshape=None):
    """Finds the places of a model that there are to look at.

    Args:
        model: A built `keras.Model`.
        signature: Structure of `tf.TensorSpec`, as the model takes it.
        target: See `GradCAM`.
        logits: See `GradCAM`.
        reshape: See `GradCAM`.

    Returns:
        An `anatomy.Anatomy`.
    """

    def basis(outputs):
        return scoring.basis(outputs, target, logits)

    found = anatomy.trace(model, signature, basis, reshape)
    # Of tokens the score may depend on the class token alone.
    doubtful = [site for site in found.sites if site.prefix and site.is_candidate()]
    lengths = [length for spec in tree.flatten(signature) for length in spec.shape[1:]]
    if not doubtful or None in lengths:
        return found
    passed = passes_on(
        model, signature, doubtful, lambda y: _total(basis(y)), found.inline
    )
    # A head of zeros, as new transformers have it, lets nothing pass and proves
    # nothing.
    if not any(passed):
        return found
    cut = {site.name for site, ok in zip(doubtful, passed, strict=True) if not ok}
    sites = [
        dataclasses.replace(site, passes_on=site.name not in cut)
        for site in found.sites
    ]
    return found._replace(sites=sites)


def _total(basis):
    totals = [
        tf.reduce_sum(tf.cast(x, tf.float32), axis=range(1, x.shape.rank))
        for x in tree.flatten(basis)
    ]
    return tf.add_n(totals)


def passes_on(model, signature, sites, score, inline=False):
    """Tells which sites still pass something of their grid on to a score.

    After the last attention of a transformer only the class token may reach the head:
    the graph does not show that, a gradient does. Runs the model once, on noise.

    Args:
        model: A built `keras.Model`.
        signature: Structure of `tf.TensorSpec`, as the model takes it.
        sites: List of `anatomy.Site`.
        score: Callable from the model's outputs to scores `(batch,)`.
        inline: See `forward.run`.

    Returns:
        List of booleans.
    """

    def run():
        inputs = tree.map_structure(_noise, signature)
        seen = look(Question(model, inputs, sites, score, inline=inline))
        found = slopes.of_sites(seen, sites, missing="zero")
        return [tf.reduce_any(slope != 0) for slope in found]

    graph = tf.function(run, autograph=False).get_concrete_function()
    return [bool(passed) for passed in graph()]


def _noise(spec):
    shape = [length or 1 for length in spec.shape]
    if not spec.dtype.is_floating:
        return tf.zeros(shape, spec.dtype)
    return tf.random.stateless_uniform(shape, seed=(0, 0), dtype=spec.dtype)
