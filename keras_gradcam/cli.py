"""The command line: `python -m keras_gradcam`."""

import argparse


def main(argv=None):
    """Runs the command line.

    Args:
        argv: List of strings, the arguments. Defaults to `None`, those of the process.

    Returns:
        The exit code, an integer.

    Raises:
        SystemExit: With code 2 after an error of the user's, with 0 after `--help` and
            `--version`.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except UserError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


class UserError(Exception):
    """What the user can put right, told in one line instead of a traceback."""


def _parser():
    from keras_gradcam import __version__

    parser = argparse.ArgumentParser(
        prog="keras_gradcam", description="Grad-CAM for any Keras model."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_demo(commands)
    return parser


def _add_demo(commands):
    demo = commands.add_parser(
        "demo",
        help="train a small network and watch where it looks",
        description=(
            "Trains a small network on handwritten digits in cluttered scenes, and "
            "pictures after each epoch where it looks."
        ),
    )
    demo.add_argument(
        "--images",
        metavar="DIR",
        help="train on your own pictures: a folder that has a folder for each class",
    )
    demo.add_argument("--epochs", type=_count, default=6, help="default: %(default)s")
    demo.add_argument(
        "--out",
        metavar="DIR",
        default="runs/demo",
        help="where the results are written, default: %(default)s",
    )
    demo.add_argument("--seed", type=int, default=2, help="default: %(default)s")
    demo.add_argument(
        "--scenes",
        type=_count,
        default=8000,
        help="how many scenes of digits to train on, default: %(default)s",
    )
    demo.set_defaults(run=_demo)


def _demo(args):
    from keras_gradcam import demo

    try:
        if args.images is None:
            task = demo.digits_task(args.scenes, args.seed)
        else:
            task = demo.folder_task(args.images, args.seed)
    except (ImportError, ValueError) as error:
        raise UserError(error) from error
    demo.run(task, args.out, args.epochs, args.seed)
    return 0


def _count(text):
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {count}")
    return count
