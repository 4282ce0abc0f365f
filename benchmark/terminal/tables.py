"""The tables that a run, a sweep and a replay print, and that their pages show: rows of words, and lines about them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tabulate import tabulate

import metrics
from benchmark.scoring.assessment import Assessment
from benchmark.scoring.outcome import Outcome
from benchmark.terminal.console import say
from benchmark.terminal.numbers import LONG, about, diverged, median_of, missing, origin, score_text, value_text
from kinds.contract import Floor, Kind

Rows = list[dict[str, str]]  # a dict for every row: heading -> words, the first heading empty

_MOST_ROWS = 20  # of the table of what a replay found


def show(rows: Rows) -> None:
    """Prints a table, unless it has no rows."""
    if rows:
        say(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))


def of_run(outcome: Outcome, repeated: Mapping[str, float] | None) -> dict[str, Rows]:
    """The tables of a run by their captions; those without rows are left out.

    Args:
      outcome: with the scores of the end.
      repeated: see `held_out_rows`.
    """
    found = {
        "Followed during the training": final_rows(outcome),
        "Scored at the end": closing_rows(outcome),
        "Training rows beside held-out rows": held_out_rows(outcome.assessments, outcome.kind, repeated),
        **({name: [*rows] for name, rows in outcome.further.tables.items()} if outcome.further else {}),
        "Cost of the training": cost_rows(outcome.costs),
    }
    return {caption: rows for caption, rows in found.items() if rows}


def run_tables(found: Mapping[str, Rows], outcome: Outcome) -> None:
    """Prints the tables of a run, and below the first one why an exact divergence is unknown."""
    for i, rows in enumerate(found.values()):
        show(rows)
        for line in [] if i else unknown_divergences(outcome.assessments):
            say(line)


def final_rows(outcome: Outcome) -> Rows:
    """The metrics that were followed, and the exact divergence, with their spread over seeds; and the floor."""
    judge, kind, assessments = outcome.judge, outcome.kind, outcome.assessments
    rows, remarks = [], outcome.losses_to_rivals()
    headings = dict(judge.labels)
    if kind.exact in kind.reported:
        headings[kind.exact] = metrics.METRICS[kind.exact].label_with_unit
    for entry in assessments:
        row = {"": entry.name, "parameters": "?" if entry.n_params is None else str(entry.n_params)}
        for name, heading in headings.items():
            row[heading] = _summary(entry, name, outcome.estimates(entry))
        row["seeds"] = diverged(entry.diverged_at_step) or origin(entry) or str(len(entry.diverged_at_step))
        rows.append(row | ({"remark": remarks.get(entry.name, "")} if remarks else {}))
    known = any(entry.scores.get(kind.exact) is not None for entry in assessments)
    followed = kind.exact in judge.floors
    more = {} if followed or kind.exact not in headings else {headings[kind.exact]: "0" if known else "none"}
    return rows + _floor_rows(assessments, judge.floors, headings, more)


def closing_rows(outcome: Outcome) -> Rows:
    """The metrics that are computed once, with their floors."""
    floors, assessments = outcome.closing.floors, outcome.assessments
    headings = {name: metrics.METRICS[name].label_with_unit for name in floors}
    rows = [
        {"": entry.name, **{heading: _summary(entry, name) for name, heading in headings.items()}}
        for entry in assessments
        if any(entry.scores.get(name) is not None for name in floors)
    ]
    return rows + _floor_rows(assessments, floors, headings, {}) if rows else []


def held_out_rows(assessments: Sequence[Assessment], kind: Kind, repeated: Mapping[str, float] | None) -> Rows:
    """Training rows beside held-out ones: distances for everything, mean ln q where there is a density.

    Args:
      assessments: of families and external entries.
      kind: of their target; it says what the distances are.
      repeated: the distances of a model that repeats its training rows; None where data were drawn afresh.
    """
    if repeated is None:
        return []
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
    return [*rows, {"": "repeating the training rows", **repeating}]


def board_table(board: Any, texts: Sequence[Sequence[str]]) -> None:
    """A board's numbers, as words [T][F], of targets and families.

    Args:
      board: has `rows`, `names` and what its numbers are, `heading`.
      texts: the words.
    """
    lines = [(row, *own) for row, own in zip(board.rows, texts, strict=True)]
    if lines:
        say(tabulate(lines, (board.heading, *board.names), tablefmt="simple", disable_numparse=True))


def cost_rows(costs: Mapping[str, Mapping[str, float | None]]) -> Rows:
    """What every family took."""
    return [
        {
            "": name,
            "parameters": str(cost["n_params"]),
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


def replay_line(found: Mapping[str, Any]) -> str:
    """What a replay has found (the content of its replay.json) in one line."""
    numbers, arrays = f"{found['numbers']:,}".replace(",", " "), found["arrays"]
    if found["same"]:
        and_arrays = f" and {arrays} {'array' if arrays == 1 else 'arrays'}" if arrays is not None else ""
        alone = "" if arrays is not None else f"; there is no samples.npz beside {found['original']} to compare"
        return f"replayed: all {numbers} numbers{and_arrays} are the same, bit for bit{alone}"
    of_arrays = f" and {found['arrays_differing']} of {arrays} arrays" if arrays is not None else ""
    return f"replayed: {found['numbers_differing']} of {numbers} numbers{of_arrays} differ from {found['original']}"


def replay_tables(found: Mapping[str, Any]) -> None:
    """What a replay has found (the content of its replay.json): that all is the same, or what is not and why."""
    if found["same"]:
        say(replay_line(found))
        return
    rows = [
        (each["where"], f"{each['n_differing']} of {each['n']}", _share(each["largest"]))
        for each in found["differences"][:_MOST_ROWS]
    ]
    say(tabulate(rows, ("where", "differing", "largest relative difference"), tablefmt="simple", disable_numparse=True))
    if len(found["differences"]) > _MOST_ROWS:
        say(f"… and {len(found['differences']) - _MOST_ROWS} more, all in replay.json")
    say(replay_line(found))
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


def _summary(entry: Assessment, name: str, estimates: Collection[str] = ()) -> str:
    values = entry.scores.get(name)
    if values is None:
        return "none"
    summary = metrics.summarise(values, metrics.METRICS[name].higher_is_better)
    median, low, high = (value_text(summary[part], name, missing(entry, name)) for part in ("median", "low", "high"))
    approximate = about(name, estimates)
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
    middle, low, high = (value_text(value, name) for value in floor)
    return middle if floor.low == floor.high else f"{middle} ({low} – {high})"
