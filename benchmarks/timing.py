"""Times of contestants that run in turn in one process, and what to say of them."""

import time

import numpy as np


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def rounds(contestants, budget, least=5, most=400):
    """Lets all contestants run once in each round, every other round backwards.

    Args:
        contestants: Dict of functions without arguments, all of them warm.
        budget: Seconds after which no round begins any more.
        least: The number of rounds that begin all the same.
        most: The number of rounds after which there is none, whatever the budget.

    Returns:
        List with a dict of seconds for each round.
    """
    end = time.perf_counter() + budget
    found = []
    while len(found) < most and (len(found) < least or time.perf_counter() < end):
        order = list(contestants)[:: 1 if len(found) % 2 else -1]
        times = {name: seconds(contestants[name]) for name in order}
        found.append({name: times[name] for name in contestants})
    return found


def medians_ms(found):
    return {
        name: significant(1e3 * float(np.median([r[name] for r in found])))
        for name in found[0]
    }


def over(found, name, base):
    """How a contestant's times compare with those of another in the same rounds."""
    ratios = [r[name] / r[base] for r in found]
    extra = [1e3 * (r[name] - r[base]) for r in found]
    return {
        "ratio": round(float(np.median(ratios)), 3),
        "quartiles": [round(float(q), 3) for q in np.quantile(ratios, [0.25, 0.75])],
        "extra_ms": round(float(np.median(extra)), 3),
        "rounds": len(found),
    }


def significant(value, digits=4):
    return float(f"{value:.{digits}g}")
