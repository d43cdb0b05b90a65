"""Forward hooks: functions that see, or replace, what a layer returns.

They are in place while a model runs, and leave no trace. Keras looks `call` up on the
layer *instance* each time that a layer runs, also where one layer runs another without
going through `__call__` (`TimeDistributed` does). A wrapper placed there sees every
output of any layer of any model: nested, subclassed, shared. No node is added to the
user's graph of layers and no weight is cloned.
"""

import contextlib
import functools
import threading

_lock = threading.Lock()

_installed: dict = {}  # id(layer) -> _Wrapper, while a thread hooks the layer

_thread = threading.local()  # .hooks: id(layer) -> hook of this thread


def _hooks():
    return _thread.__dict__.setdefault("hooks", {})


class _Wrapper:
    """The wrapped entry points of one layer, counted so that threads can share them."""

    # An int8-quantised layer is entered through `quantized_call`.
    ENTRY_POINTS = ("call", "quantized_call")

    def __init__(self, layer):
        self.layer = layer
        self.users = 0
        self.originals = {
            name: layer.__dict__[name]
            for name in self.ENTRY_POINTS
            if name in layer.__dict__
        }
        for name in self.ENTRY_POINTS:
            if hasattr(layer, name):
                # Not `setattr`: Keras tracks attributes, and locks a built layer.
                layer.__dict__[name] = self._wrap(getattr(layer, name))

    def _wrap(self, call):
        key, layer = id(self.layer), self.layer

        @functools.wraps(call)
        def hooked(*args, **kwargs):
            hooks = _hooks()
            # Other threads pass through, and so does `quantized_call` on its way to
            # `call`: only the outermost return value is the layer's output.
            hook = hooks.pop(key, None)
            if hook is None:
                return call(*args, **kwargs)
            try:
                output = call(*args, **kwargs)
            finally:
                hooks[key] = hook
            return hook(layer, output)

        return hooked

    def remove(self):
        for name in self.ENTRY_POINTS:
            self.layer.__dict__.pop(name, None)
        self.layer.__dict__.update(self.originals)


def _install(layer):
    with _lock:
        wrapper = _installed.get(id(layer)) or _Wrapper(layer)
        _installed[id(layer)] = wrapper
        wrapper.users += 1


def _uninstall(layer):
    with _lock:
        wrapper = _installed[id(layer)]
        wrapper.users -= 1
        if not wrapper.users:
            wrapper.remove()
            del _installed[id(layer)]


@contextlib.contextmanager
def forward_hooks(layers, hook):
    """Calls `hook` on each output of `layers` that this thread computes.

    Args:
        layers: Iterable of `keras.Layer`, each at most once.
        hook: Callable `(layer, output) -> output`. What it returns takes the place
            of the layer's output in the rest of the model.
    """
    with contextlib.ExitStack() as stack:
        for layer in layers:
            _install(layer)
            stack.callback(_uninstall, layer)
            stack.callback(_restore, id(layer), _hooks().get(id(layer)))
            _hooks()[id(layer)] = hook
        yield


def _restore(key, hook):
    if hook is None:
        _hooks().pop(key, None)
    else:
        _hooks()[key] = hook
