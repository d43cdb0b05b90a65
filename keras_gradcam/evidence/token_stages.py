"""The tokens of a transformer at each depth, and what its end makes of them."""

from keras_gradcam.graphs import graph_paths, replayed


def scores(forward_pass, tensor, every):
    """The scores of each depth: the end of the network on the tokens there.

    Args:
        forward_pass: A `ForwardPass`.
        tensor: The tensor of the layer from which on attention counts.
        every: List of `AttentionWeights` behind it.

    Returns:
        List of tensors of the shape of `forward_pass.scores`, one for each attention;
        that of the last depth, and of what pools its tokens, is the score itself.

    Raises:
        ValueError: If the depths are not alike.
    """
    blocks = [each.tensor for each in every]
    while len(blocks) > 1 and _pools(blocks[-1]):
        blocks.pop()
    if len(blocks) == 1:
        return [forward_pass.scores] * len(every)
    stages = _stages(forward_pass, tensor, blocks)
    again = [replayed(forward_pass.scores, stages[-1], x) for x in stages[:-1]]
    return again + [forward_pass.scores] * (len(every) - len(again))


def _pools(weights):
    """Whether there are less queries than keys: attention of a few to the tokens."""
    queries, keys = weights.shape[-2:]
    return None not in (queries, keys) and queries < keys


def _stages(forward_pass, tensor, weights):
    """The tokens behind each attention, where all that comes later starts from."""
    operations = tensor.graph.get_operations()
    trunk = _trunk(forward_pass, tensor, operations)
    # What an attention starts from is the last of the trunk that it depends on alone.
    starts = [_start(trunk, each) for each in weights]
    steps = starts[-1] - starts[-2]
    last = starts[-1] + steps
    first = trunk[starts[0]]
    stages = [trunk[n] for n in starts[1:]] + trunk[last : last + 1]
    if (
        steps < 1
        or len(stages) < len(starts)
        or not all(_are_alike(first, x) for x in stages)
    ):
        raise ValueError(
            "Method 'legrad' lets the end of the network judge the tokens of each "
            "depth, and needs depths that return the same number of tokens and "
            f"features. Received: {[tuple(x.shape) for x in stages]}. Take 'gradsam', "
            "which is much the same without it."
        )
    return stages


def _trunk(forward_pass, tensor, operations):
    """What all that the score knows of the tokens passes through, in order."""
    ends = [forward_pass.scores]
    relevant = graph_paths.upstream(operations, ends)
    names = graph_paths.passed_by_all(operations, tensor, ends, relevant)
    passed = [op.outputs[0] for op in operations if op.name in names]
    return [tensor, *[x for x in passed if x is not tensor]]


def _start(trunk, weights):
    made_of = _upstream_of(weights)
    return max(n for n, x in enumerate(trunk) if x.name in made_of)


def _upstream_of(tensor):
    names, waiting = set(), [tensor]
    while waiting:
        one = waiting.pop()
        if one.name not in names:
            names.add(one.name)
            waiting += one.op.inputs
    return names


def _are_alike(one, other):
    return one.shape.as_list() == other.shape.as_list() and one.dtype == other.dtype
