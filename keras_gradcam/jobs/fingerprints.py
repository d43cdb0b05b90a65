"""Tells models and settings apart, in the same way in every process."""

import functools
import hashlib
import json
import re

import numpy as np


def of_texts(texts):
    """A digest of strings and their order."""
    return _digest(text.encode("utf-8", "surrogateescape") for text in texts)


def of_arrays(arrays):
    """A digest of arrays, their shapes and their order."""
    arrays = (np.ascontiguousarray(array) for array in arrays)
    return _digest(
        part for x in arrays for part in (repr(x.shape).encode(), x.view(np.uint8).data)
    )


def of_model(model):
    """A digest of what a model consists of, whatever its layers are called."""
    try:
        config = model.get_config()
    except NotImplementedError:  # A subclassed model that cannot be saved.
        config = None
    text = json.dumps(_unnamed(config), sort_keys=True, default=told)
    return of_texts([type(model).__name__, text])


def told(value):
    """A setting as text or a number; of a function, what it does."""
    if isinstance(value, functools.partial):
        parts = [value.func, *value.args, *sorted(value.keywords.items())]
        return f"partial({', '.join(str(told(part)) for part in parts)})"
    if hasattr(value, "options"):
        return [value.name, *told(sorted(value.options.items()))]
    if hasattr(value, "__code__"):
        return f"{value.__module__}.{value.__qualname__} {_digest(_code(value))}"
    if isinstance(value, (list, tuple)):
        return [told(one) for one in value]
    return value if value is None or isinstance(value, (bool, int)) else _text(value)


def _text(value):
    if isinstance(value, np.ndarray):
        return f"array {value.shape} {of_arrays([value])}"
    # Without the address in memory.
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _code(function):
    """What a function does: its instructions, constants, defaults and closure."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    yield from _instructions(function.__code__)
    yield repr([told(x) for x in (*cells, function.__defaults__)]).encode()


def _instructions(code):
    yield code.co_code
    yield repr(code.co_names).encode()
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield from _instructions(constant)
        else:
            yield repr(constant).encode()


def _unnamed(config):
    """A config without the names of layers, which count up with each model."""
    if isinstance(config, dict):
        named = ("name", "inbound_nodes", "input_layers", "output_layers")
        return {k: _unnamed(v) for k, v in config.items() if k not in named}
    if isinstance(config, (list, tuple)):
        return [_unnamed(one) for one in config]
    return config


def _digest(parts):
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
