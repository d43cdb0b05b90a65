"""Runs all benchmarks, each in processes of its own, and makes docs/benchmarks.md.

    python benchmarks/suite.py --only speed,dataset
    python benchmarks/suite.py --page
    python benchmarks/suite.py --short --out runs/benchmarks

The numbers go to benchmarks.json in the folder `--out`, docs if not said otherwise,
part by part: what is not measured stays as it is. Each part says what it ran on. The
page is made of them; `--page` does this alone. `--short` runs all parts for a look at
whether they work: its numbers are no results.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import page

HERE = pathlib.Path(__file__).parent
NETWORKS = ("small CNN", "MobileNetV2", "EfficientNetB0", "ResNet50")
BATCHES = (1, 32)


def main():
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in () if args.page else args.only:
        start = time.perf_counter()
        try:
            measured = PARTS[name](args.short)
        except subprocess.CalledProcessError as error:
            failed.append(name)
            print(f"{name} failed:\n{error.stderr[-3000:]}", flush=True)
            continue
        _merge(args.out / "benchmarks.json", name, measured)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    page.write(args.out)
    sys.exit(f"Failed: {', '.join(failed)}" if failed else 0)


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", type=_names, default=list(PARTS), help=f"some of {','.join(PARTS)}"
    )
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--short", action="store_true", help="only see whether all run")
    parser.add_argument("--out", type=pathlib.Path, default=page.DOCS)
    args = parser.parse_args()
    if args.short and not args.page and args.out == page.DOCS:
        parser.error("--short needs another folder: --out runs/benchmarks")
    return args


def _names(text):
    names = text.split(",")
    if unknown := set(names) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no part {unknown}, there are {list(PARTS)}")
    return names


def _merge(path, name, measured):
    results = json.loads(path.read_text()) if path.exists() else {}
    results[name] = measured
    ordered = {part: results[part] for part in PARTS if part in results}
    path.write_text(json.dumps(ordered, indent=2) + "\n")


def _run(script, *options, python=sys.executable, accelerator=False):
    """What a script of this folder prints as JSON, behind whatever else it prints."""
    print(script, *options, flush=True)
    hidden = {} if accelerator else {"CUDA_VISIBLE_DEVICES": "-1"}
    output = subprocess.run(
        [python, HERE / script, *options],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **hidden},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads("{" + ("\n" + output.stdout).split("\n{", 1)[1])


def _on(measured, accelerator=False):
    return {"machine": _run("machine.py", accelerator=accelerator), **measured}


# The parts.


def speed(short):
    cases = [
        _run(
            "speed.py",
            f"--model={name}",
            f"--batch={batch}",
            f"--seconds={1 if short else 30}",
            f"--processes={3 if batch > 1 and not short else 1}",
        )
        for name in NETWORKS
        for batch in BATCHES
    ]
    return _on({"cases": cases})


def accelerator(short):
    """The same with XLA, also in mixed precision, where there is a GPU or TPU."""
    measured = _on({"cases": []}, accelerator=True)
    if measured["machine"]["accelerators"]:
        measured["cases"] = [
            _run(
                "speed.py",
                f"--model={name}",
                f"--batch={batch}",
                f"--policy={policy}",
                f"--seconds={1 if short else 10}",
                "--xla",
                "--processes=1",
                accelerator=True,
            )
            for policy in ("float32", "mixed_float16")
            for name in NETWORKS
            for batch in BATCHES
        ]
    return measured


def others(short):
    seconds = f"--seconds={1 if short else 20}"
    cases = [_run("others.py", f"--batch={batch}", seconds) for batch in BATCHES]
    return _on({"cases": cases})


def torch(short):
    python = HERE.parent / ".venv-peers" / "bin" / "python"
    seconds = f"--seconds={1 if short else 40}"
    cases = [
        _run("torch_other.py", f"--batch={batch}", seconds, python=python)
        for batch in BATCHES
    ]
    return _on({"cases": cases})


def channels(short):
    options = ["--model=MobileNetV2", "--size=96", "--rounds=1", "--peer-channels=16"]
    return _on(_run("channels.py", *(options if short else [])))


def callback(short):
    return _on(_run("callback.py", f"--rounds={3 if short else 15}"))


def dataset(short):
    options = ["--images=2000", "--repeats=1"] if short else []
    return _on(_run("dataset.py", *options))


def imports(short):
    return _on(_run("imports.py", f"--processes={1 if short else 7}"))


PARTS = {
    part.__name__: part
    for part in (
        speed,
        accelerator,
        others,
        torch,
        channels,
        callback,
        dataset,
        imports,
    )
}

if __name__ == "__main__":
    main()
