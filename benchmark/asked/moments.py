"""The steps of a training at which something is scored or shown."""

from core.errors import UserError

SPACINGS = ("log", "linear")


def scored_steps(n_steps: int, n_evaluations: int, spacing: str, snapshot_percent: int) -> list[int]:
    """The steps after which a training is scored: those of the evaluations and those of the snapshots.

    Step 0, which is scored as well, is not among them.
    """
    evaluations = _growing(n_steps, n_evaluations)
    if spacing == "linear":
        evaluations = [n_steps * i // n_evaluations for i in range(1, n_evaluations + 1)]
    return sorted({*evaluations, *snapshot_steps(n_steps, snapshot_percent).values()})


def snapshot_steps(n_steps: int, snapshot_percent: int) -> dict[int, int]:
    """Percent of the training -> step, for every snapshot."""
    return {p: n_steps * p // 100 for p in range(snapshot_percent, 101, snapshot_percent)}


def check(n_steps: int, n_evaluations: int, spacing: str, snapshot_percent: int) -> None:
    """Proves that there are such steps.

    Raises:
      UserError: the first constant that has no step of its own for every score.
    """
    if spacing == "linear" and n_steps % n_evaluations:
        raise UserError(
            f"N_EVALUATIONS = {n_evaluations} does not divide N_STEPS = {n_steps}; "
            f"the nearest that does is {_nearest_divisor(n_steps, n_evaluations)}, and the nearest "
            f"N_STEPS is {max(1, round(n_steps / n_evaluations)) * n_evaluations}"
        )
    if n_evaluations > n_steps:
        raise UserError(
            f"N_EVALUATIONS = {n_evaluations} are more than N_STEPS = {n_steps}; the most that works is {n_steps}"
        )
    # Evaluations at equal distances have all snapshots among them, so that all distances are equal.
    linear = spacing == "linear"
    fitting = [
        p for p in range(1, 101) if 100 % p == 0 and (n_evaluations % (100 // p) == 0 if linear else n_steps * p >= 100)
    ]
    nearest = min(fitting, key=lambda p: abs(p - snapshot_percent))
    if 100 % snapshot_percent:
        also = " and falls on evaluations" if linear else ""
        raise UserError(
            f"SNAPSHOT_PERCENT = {snapshot_percent} does not divide 100; the nearest that does{also} is {nearest}"
        )
    if nearest != snapshot_percent:
        lack = f"fall on the N_EVALUATIONS = {n_evaluations}" if linear else f"have a step, of N_STEPS = {n_steps}"
        raise UserError(
            f"SNAPSHOT_PERCENT = {snapshot_percent} asks for {100 // snapshot_percent} snapshots, not all of which "
            f"{lack}; the nearest that works is {nearest}"
        )


def _growing(n_steps: int, n: int) -> list[int]:
    """So many different steps, each about as many times the one before; the last is n_steps.

    At the start, where steps are too few for that, every single one.
    """
    steps, step = [], 0
    for left in range(n, 0, -1):
        ratio = (n_steps / max(step, 1)) ** (1 / left)
        # As many as are still to come must find a step of their own.
        step = min(max(step + 1, round(max(step, 1) * ratio)), n_steps - left + 1)
        steps.append(step)
    return steps


def _nearest_divisor(n: int, value: int) -> int:
    divisors = {d for i in range(1, int(n**0.5) + 1) if n % i == 0 for d in (i, n // i)}
    return min(divisors, key=lambda d: (abs(d - value), d))
