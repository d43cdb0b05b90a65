"""Evidence from attention: its weights, and the gradients of a score in these."""

from typing import NamedTuple

from keras_gradcam.arrays import widened
from keras_gradcam.evidence import token_stages
from keras_gradcam.execution import UnconnectedError, differentiation
from keras_gradcam.model import attention_weights


class Attention(NamedTuple):
    """All attention of a network behind a layer, in order of execution.

    Attributes:
        weights: List of floats `(batch, heads, queries, keys)`, one for each attention;
            of attention in windows, the batch has all windows of all samples.
        gradients: List of dy/dA of the same shapes.
        places: List of callables that lay what there is of each key, `(batch, keys)`,
            on the layer's grid, `(batch, *grid)`.
    """

    weights: list
    gradients: list
    places: list


def attention(request, forward_pass):
    """`Attention`: the weights A and their gradients dy/dA."""
    return [
        _with_gradients(
            forward_pass,
            layer_output,
            attention_weights.find(forward_pass, tensor, layer_output),
        )
        for tensor, layer_output in _layers(request, forward_pass)
    ]


def chained_attention(request, forward_pass):
    """The same, where each attention is over all tokens that the one before returns."""
    found = []
    for tensor, layer_output in _layers(request, forward_pass):
        every = attention_weights.find(forward_pass, tensor, layer_output, every=True)
        _check_chain(every)
        found.append(_with_gradients(forward_pass, layer_output, every))
    return found


def attention_by_depth(request, forward_pass):
    """The same with the gradients of scores of each depth.

    The score of a depth is what the end of the network makes of the tokens there.
    """
    found = []
    for tensor, layer_output in _layers(request, forward_pass):
        every = attention_weights.find(forward_pass, tensor, layer_output)
        stages = token_stages.scores(forward_pass, tensor, every)
        again = forward_pass
        # What was replayed has operations of its own, and no rules yet.
        if request.gradient_rules is not None:
            again = again._replace(overrides=request.gradient_rules(forward_pass))
        columns = [
            _gradients(again._replace(scores=scores), [each.tensor])
            for scores, each in zip(stages, every, strict=True)
        ]
        columns = [sum(each, []) for each in zip(*columns, strict=True)]
        found.append(_evidence(forward_pass, layer_output, every, columns))
    return found


def _layers(request, forward_pass):
    return zip(forward_pass.tensors, request.layer_outputs, strict=True)


def _gradients(forward_pass, tensors):
    return differentiation.of_tensors(forward_pass, tensors)


def _with_gradients(forward_pass, layer_output, every):
    columns = _gradients(forward_pass, [each.tensor for each in every])
    return _evidence(forward_pass, layer_output, every, columns)


def _evidence(forward_pass, layer_output, every, columns):
    used = [n for n in range(len(every)) if columns[0][n] is not None]
    if not used:
        raise UnconnectedError(
            f"The score does not depend on the attention behind layer "
            f"'{layer_output.name}': no gradient reaches its weights. Choose a target "
            "that uses what it computes, or a method of another kind."
        )
    arranged = [[every[n].arrange(column[n]) for n in used] for column in columns]
    weights = [every[n].arrange(widened(every[n].tensor)) for n in used]
    return Attention(
        [differentiation.for_each_score(each, forward_pass) for each in weights],
        differentiation.joined(arranged, forward_pass),
        [every[n].place for n in used],
    )


def _check_chain(every):
    tokens = every[0].tensor.shape[-1]
    for number, each in enumerate(every):
        queries, keys = each.tensor.shape[-2:]
        is_last = number == len(every) - 1
        if each.is_whole and keys == tokens and (queries == keys or is_last):
            continue
        raise ValueError(
            "The method multiplies the attention of all layers, each over all tokens "
            f"of the picture. Attention {number} of {len(every)} has weights of shape "
            f"{tuple(each.tensor.shape)}, over windows or over other tokens. Take "
            "'gradsam', 'legrad' or 'libragrad', which need no product."
        )
