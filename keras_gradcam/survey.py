"""What places a model has to look at, and which of them a score depends on."""

import dataclasses

import tensorflow as tf
from keras import tree

from keras_gradcam import anatomy, evidence, scoring


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
    passed = evidence.passes_on(
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
