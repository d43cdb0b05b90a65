"""What pytorch-grad-cam imports for pictures and data sets only: torchvision."""

import sys
import types

# Module by module, the names that are imported from it; none of them is called here.
NAMES = {
    "torchvision": (),
    "torchvision.transforms": ("Compose", "Normalize", "ToTensor"),
    "torchvision.transforms.functional": ("resize",),
}


def install():
    """Puts empty modules in the place of torchvision where it is not installed."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        for name, members in NAMES.items():
            module = types.ModuleType(name)
            for member in members:
                setattr(module, member, None)
            sys.modules[name] = module
