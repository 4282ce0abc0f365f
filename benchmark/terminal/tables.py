"""The tables that a run, a sweep and a replay print."""

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

import metrics
from benchmark.scoring.assessment import Assessment
from benchmark.scoring.outcome import Outcome
from benchmark.terminal.console import say
from benchmark.terminal.numbers import LONG, diverged, median_of, missing, origin, score_text, value_text
from kinds.contract import Floor, Kind

_MOST_ROWS = 20  # of the table of what a replay found


def final_table(outcome: Outcome) -> None:
    """The metrics that were followed, and the exact divergence, with their spread over seeds; and the floor."""
    judge, kind, assessments = outcome.judge, outcome.kind, outcome.assessments
    rows, remarks = [], outcome.losses_to_rivals()
    headings = {**judge.labels, kind.exact: metrics.METRICS[kind.exact].label_with_unit}
    for entry in assessments:
        row = {"": entry.name, "parameters": "?" if entry.n_params is None else entry.n_params}
        for name, heading in headings.items():
            row[heading] = _summary(entry, name, name == kind.exact and entry.estimated)
        row["seeds"] = diverged(entry.diverged_at_step) or origin(entry) or str(len(entry.diverged_at_step))
        rows.append(row | ({"remark": remarks.get(entry.name, "")} if remarks else {}))
    known = any(entry.scores.get(kind.exact) is not None for entry in assessments)
    rows += _floor_rows(assessments, judge.floors, headings, {headings[kind.exact]: "0" if known else "none"})
    say(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))
    for line in unknown_divergences(assessments):
        say(line)


def closing_table(outcome: Outcome) -> None:
    """The metrics that are computed once, with their floors."""
    floors, assessments = outcome.closing.floors, outcome.assessments
    headings = {name: metrics.METRICS[name].label_with_unit for name in floors}
    rows = [
        {"": entry.name, **{heading: _summary(entry, name) for name, heading in headings.items()}}
        for entry in assessments
        if any(entry.scores.get(name) is not None for name in floors)
    ]
    if rows:
        rows += _floor_rows(assessments, floors, headings, {})
        say(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))


def held_out_table(assessments: Sequence[Assessment], kind: Kind, repeated: Mapping[str, float] | None) -> None:
    """Training rows beside held-out ones: distances for everything, mean ln q where there is a density.

    Args:
      assessments: of families and external entries.
      kind: of their target; it says what the distances are.
      repeated: the distances of a model that repeats its training rows; None where data were drawn afresh.
    """
    if repeated is None:
        return
    rows = []
    for entry in assessments:
        if entry.memorisation:
            row = {"": entry.name}
            for part in ("train", "held_out"):
                words = part.replace("_", "-")
                row[f"{kind.distance} to {words} rows"] = score_text(
                    median_of([seed[part] for seed in entry.memorisation])
                )
                if entry.log_likelihood and entry.log_likelihood[0]:
                    row[f"ln q of {words} rows"] = _nats([seed[part] for seed in entry.log_likelihood])
            rows.append(row)
    repeating = {
        f"{kind.distance} to {part.replace('_', '-')} rows": score_text(value) for part, value in repeated.items()
    }
    rows.append({"": "repeating the training rows", **repeating})
    say(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))


def board_table(board: Any, texts: Sequence[Sequence[str]]) -> None:
    """A board's multiples of the floors, as words [T][F], of targets and families.

    Args:
      board: has `rows`, `names` and what its `metric` is called.
      texts: the words.
    """
    lines = [(row, *own) for row, own in zip(board.rows, texts, strict=True)]
    if lines:
        say(tabulate(lines, (f"{board.metric} / floor", *board.names), tablefmt="simple", disable_numparse=True))


def cost_table(costs: Mapping[str, Mapping[str, float | None]]) -> None:
    """What every family took."""
    rows = [
        {
            "": name,
            "parameters": cost["n_params"],
            "operations a step": _count(cost["operations_per_step"]),
            # A family that is not trained has seen its rows at once.
            "rows a step": f"{_count(cost['rows_per_step'])}{'' if cost['operations_per_step'] != 0 else ' in all'}",
            "training, all seeds": f"{cost['train_seconds']:.1f} s",
            "compiling": f"{cost['compile_seconds']:.1f} s",
            "samples a second": _count(cost["samples_per_second"]),
            "memory a device": "?" if cost["memory_bytes"] is None else f"{cost['memory_bytes'] / 2**20:.1f} MiB",
        }
        for name, cost in costs.items()
    ]
    if rows:
        say(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))


def replay_tables(found: Mapping[str, Any]) -> None:
    """What a replay has found (the content of its replay.json): that all is the same, or what is not and why."""
    numbers, arrays = f"{found['numbers']:,}".replace(",", " "), found["arrays"]
    if found["same"]:
        and_arrays = f" and {arrays} {'array' if arrays == 1 else 'arrays'}" if arrays is not None else ""
        alone = "" if arrays is not None else f"; there is no samples.npz beside {found['original']} to compare"
        say(f"replayed: all {numbers} numbers{and_arrays} are the same, bit for bit{alone}")
        return
    rows = [
        (each["where"], f"{each['n_differing']} of {each['n']}", _share(each["largest"]))
        for each in found["differences"][:_MOST_ROWS]
    ]
    say(tabulate(rows, ("where", "differing", "largest relative difference"), tablefmt="simple", disable_numparse=True))
    if len(found["differences"]) > _MOST_ROWS:
        say(f"… and {len(found['differences']) - _MOST_ROWS} more, all in replay.json")
    of_arrays = f" and {found['arrays_differing']} of {arrays} arrays" if arrays is not None else ""
    say(f"replayed: {found['numbers_differing']} of {numbers} numbers{of_arrays} differ from {found['original']}")
    if not found["explanations"]:
        say("nothing that is recorded of the program, its libraries, input and machine has changed")
        return
    rows = [(each["what"], *(_fact(each[side]) for side in ("original", "replay"))) for each in found["explanations"]]
    say(tabulate(rows, ("what may explain it", "then", "now"), tablefmt="simple", disable_numparse=True))


def _floor_rows(
    assessments: Sequence[Assessment], floors: Mapping[str, Floor], headings: Mapping[str, str], more: Mapping[str, str]
) -> list[dict[str, str]]:
    """The floor, and one for every other number of rows that something was scored at."""
    rows = [{"": "floor", **{headings[name]: _floor(floor, name) for name, floor in floors.items()}, **more}]
    seen = {entry.n_samples: entry.floors for entry in assessments if entry.external and entry.n_samples is not None}
    for n, own in seen.items():
        if own[next(iter(floors))] != floors[next(iter(floors))]:
            rows.append({"": f"floor at n = {n}", **{headings[name]: _floor(own[name], name) for name in floors}})
    return rows


def unknown_divergences(assessments: Sequence[Assessment]) -> list[str]:
    """Such as "GMM: exact KL unknown (seed 1: the quadrature …)", for every family that has one."""
    lines = []
    for entry in assessments:
        whys: dict[str, list[int]] = {}
        for seed, why in enumerate(entry.unknown):
            if why:
                whys.setdefault(why, []).append(seed)
        if whys:
            said = "; ".join(
                f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}: {why}"
                for why, seeds in whys.items()
            )
            lines.append(f"{entry.name}: exact KL unknown ({said})")
    return lines


def _summary(entry: Assessment, name: str, estimated: bool = False) -> str:
    values = entry.scores.get(name)
    if values is None:
        return "none"
    summary = metrics.summarise(values, metrics.METRICS[name].higher_is_better)
    median, low, high = (value_text(summary[part], name, missing(entry, name)) for part in ("median", "low", "high"))
    approximate = "≈ " if estimated else ""
    if entry.masses is not None:
        return f"{median} (exact)"
    return approximate + (median if len(values) == 1 else f"{median} ({low} – {high})")


def _count(value: float | None) -> str:
    """A large number in three digits with its prefix."""
    if value is None:
        return "?"
    for factor, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:.3g}{prefix}"
    return f"{value:.3g}"


def _share(value: float | None) -> str:
    return "another form" if value is None else f"{value:.1e}"


def _fact(value: Any) -> str:
    return "–" if value is None else str(value)


def _nats(values: Sequence[float]) -> str:
    median = metrics.summarise(values, higher_is_better=True)["median"]
    return "diverged" if median is None else f"{median:.3f}" if abs(median) < LONG else f"{median:.2g}"


def _floor(floor: Floor, name: str) -> str:
    mean, low, high = (value_text(value, name) for value in floor)
    return f"{mean} ({low} – {high})"
