"""One graph for each input signature, compiled by XLA or not."""

import collections
import re
import warnings

import tensorflow as tf
from keras import tree

# A loop that passes a new lambda each time must not keep every graph it ever made.
MAX_GRAPHS = 32

# What the errors say when XLA, and not the model, is the reason.
XLA_REFUSALS = (
    "unsupported operations when trying to compile",
    "XLA_CPU_JIT",
    "XLA_GPU_JIT",
    "XLA_TPU_JIT",
    "XLA compilation",
    "compile-time constant",
    "tf2xla",
)


class XLARefusalError(RuntimeError):
    """XLA cannot compile the function; the message names the operations."""


class ConcreteFunctions:
    """The graphs of a function, each traced once and used for every batch size.

    Args:
        function: Callable `(static, *tensors)`. `static` is hashable and chooses the
            graph; every tensor structure is an input of the graph.
    """

    def __init__(self, function):
        self._function = function
        self._graphs = collections.OrderedDict()
        self._warned = False

    def __call__(self, static, tensors, signature, jit_compile=False):
        """Runs the function on `tensors`.

        Args:
            static: Hashable, chooses the graph.
            tensors: Tuple of structures of tensors.
            signature: Structure of `tf.TensorSpec` that `tensors` fit.
            jit_compile: Whether to compile with XLA.

        Raises:
            XLARefusalError: If `jit_compile` is true and XLA has no kernel for the
                model.
        """
        graph = self.trace(static, signature, jit_compile)
        try:
            return graph(*tensors)
        except (tf.errors.OpError, ValueError) as error:
            if jit_compile and any(sign in str(error) for sign in XLA_REFUSALS):
                raise XLARefusalError(_refused_operations(str(error))) from error
            raise

    def trace(self, static, signature, jit_compile=False):
        """Returns the graph for a signature, traced now if it is its first time."""
        flat = tuple((path, spec) for path, spec in tree.flatten_with_path(signature))
        key = (static, jit_compile, flat)
        if key not in self._graphs:
            function = tf.function(
                lambda *tensors: self._function(static, *tensors),
                jit_compile=jit_compile or None,
                autograph=False,
            )
            self._graphs[key] = function.get_concrete_function(*signature)
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
                if not self._warned:
                    _warn_of_retracing()
                self._warned = True
        return self._graphs[key]

    def clear(self):
        """Forgets all graphs."""
        self._graphs.clear()


def _refused_operations(message):
    names = sorted(set(re.findall(r"No registered '(\w+)'", message)))
    return ", ".join(names) or message.strip().splitlines()[0][:120]


def _warn_of_retracing():
    warnings.warn(
        f"More than {MAX_GRAPHS} different graphs were traced, the oldest is dropped. "
        "Tracing costs seconds: pass the same `target` function each time instead of a "
        "new lambda, and images of one size.",
        stacklevel=4,
    )
