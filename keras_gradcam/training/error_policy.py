"""What is done about an error while a model trains: a warning, or the end of it."""

import contextlib
import warnings


class ErrorPolicy:
    """Keeps an error in one part from ending a training that took days.

    Args:
        on_error: `"warn"` or `"raise"`, see `GradCAMCallback`.
    """

    def __init__(self, on_error):
        self._on_error = on_error
        self._warned: set = set()

    def begin(self):
        """Begins a training, in which each warning is given once."""
        self._warned = set()

    @contextlib.contextmanager
    def handled(self, part):
        """A context in which errors are handled; `part` names it in the warning."""
        try:
            yield
        except Exception as error:
            if self._on_error == "raise":
                raise
            self.warn(
                f"`GradCAMCallback` failed in {part}, and training goes on: "
                f"{type(error).__name__}: {error}. It will try again, and not say so "
                "again in this training. Pass `on_error='raise'` to stop instead.",
                (part, type(error)),
            )

    def warn(self, message, trouble=None):
        """Warns of each trouble once in a training."""
        if trouble not in self._warned:
            self._warned.add(trouble)
            warnings.warn(message, stacklevel=4)
