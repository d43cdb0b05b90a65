"""What a target chooses by looking at the outputs, it chooses once."""

import contextlib
import threading


def decided(choose):
    """Returns what `choose()` returns, or what it returned for the clean images.

    Targets call it for what they choose by looking at the outputs.

    Args:
        choose: Callable without arguments to a tensor.
    """
    decisions = getattr(_thread, "decisions", None)
    return choose() if decisions is None else decisions(choose)


_thread = threading.local()


@contextlib.contextmanager
def recorded(earlier):
    """Records decisions in the list that it yields, or repeats those of `earlier`."""
    made = [] if earlier is None else earlier
    repeated = None if earlier is None else iter(earlier)

    def decide(choose):
        if repeated is not None:
            return next(repeated)
        made.append(choose())
        return made[-1]

    before = getattr(_thread, "decisions", None)
    _thread.decisions = decide
    try:
        yield made
    finally:
        _thread.decisions = before
