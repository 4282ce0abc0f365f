"""The page of one run: its tables, its pictures with what they show, its configuration, provenance and files."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from benchmark.files import results
from benchmark.pages import layout
from benchmark.pages.markup import Child
from benchmark.pictures import context
from benchmark.pictures.pictures import TIMELINE_GIF, timeline_name
from benchmark.pictures.reading import captions
from benchmark.scoring.outcome import Outcome
from benchmark.terminal import numbers
from benchmark.terminal.tables import Rows, unknown_divergences
from core.settings import about
from models import MODELS

# What the files are that are no pictures.
CONTENTS = {
    results.METRICS_FILE: "everything a program needs: configuration, provenance, histories, scores, floors",
    results.CSV_FILE: "the histories as one table",
    results.SUMMARY_FILE: "the final scores as one table",
    results.TARGET_FILE: "every state of the target with its exact probability",
    results.SAMPLES_FILE: "rows of the target, and the final samples of every family and external entry",
    results.PARAMETERS_FILE: "every trained weight",
    "replay.json": "how this replay and the original compare",
    "log.txt": "what the run has printed",
}


def page(
    folder: Path, outcome: Outcome, report: Mapping[str, Any], tables: Mapping[str, Rows], notes: Sequence[str]
) -> bytes:
    """The content of a run's index.html.

    Args:
      folder: that has the pictures now.
      outcome: of the run, with the scores of the end.
      report: the content of metrics.json.
      tables: from `tables.of_run`.
      notes: what else a reader must not miss, such as what a replay has found.
    """
    config, title = outcome.config, context.title(outcome.config, outcome.target)
    pictures = _pictures(folder, outcome, report["files"])
    sections = {
        "Scores": [
            *(layout.paragraph(line) for line in _how_to_read(outcome)),
            *(layout.numbers(caption, rows) for caption, rows in tables.items()),
            *(layout.paragraph(line) for line in unknown_divergences(outcome.assessments)),
        ],
        "Pictures": pictures or [layout.paragraph("This run was asked to draw no pictures.")],
        "Configuration": _configuration(config),
        "Provenance": [_provenance(report["provenance"])],
        "Files": [_files(outcome, report["files"])],
    }
    return layout.page(title, [layout.paragraph(_question(config)), *_notes(outcome, report, notes)], sections)


def _question(config: Any) -> str:
    if not config.models:
        return f"How close do samples from elsewhere come to {config.target_type}?"
    families = " · ".join(config.models)
    return (
        f"How close does each family come to {config.target_type} with {numbers.thousands(config.parameter_budget)} "
        f"trainable parameters? {families} · {numbers.thousands(config.n_steps)} training steps."
    )


def _notes(outcome: Outcome, report: Mapping[str, Any], further: Sequence[str]) -> list[Element]:
    """What a reader must not miss: an end that came early, lost seeds, and what the caller says."""
    lines = list(further)
    if outcome.partial is not None:
        shares = ", ".join(
            f"{name} {numbers.thousands(outcome.partial['steps'].get(name, 0))}" for name in outcome.config.models
        )
        lines.append(
            f"Partial results: {outcome.partial['signal']} ended this run early. Steps of "
            f"{numbers.thousands(outcome.config.n_steps)} that were taken: {shares}."
        )
    lost = {name: numbers.divergence(name, model["diverged_at_step"]) for name, model in report["models"].items()}
    lines += [f"{line}." for line in lost.values() if line]
    return [layout.note(line) for line in lines]


def _how_to_read(outcome: Outcome) -> list[str]:
    n = numbers.thousands(outcome.judge.scorer.n_samples)
    lines = [
        f"The floor is what {n} samples of the target itself score, in brackets its 95 % range. A score within that "
        "range cannot be told from the score of a perfect model.",
    ]
    if outcome.runs and outcome.config.num_seeds > 1:
        spread = "range" if outcome.config.num_seeds < 10 else "95 % bootstrap interval"
        lines.append(f"A family's score is the median over its seeds, in brackets their {spread}.")
    return lines


def _pictures(folder: Path, outcome: Outcome, files: Sequence[str]) -> list[Element]:
    """The pictures that were drawn, in reading order, and the snapshots of the timeline as links."""
    entries = ", ".join(entry.name for entry in outcome.assessments)
    subject = f"{outcome.target.name}, {entries}"
    snapshots = _snapshots(outcome, files)
    shown = []
    for name, caption in captions(outcome).items():
        if name not in files:
            continue
        still = snapshots[-1] if name == TIMELINE_GIF else None
        shown.append(layout.figure(folder, name, caption, subject, still))
        if still is not None:
            links = [layout.link(each, _percent(each)) for each in snapshots]
            shown.append(layout.steps("Every snapshot of the timeline as a picture", links))
    return shown


def _snapshots(outcome: Outcome, files: Sequence[str]) -> list[str]:
    return [name for name in map(timeline_name, outcome.config.snapshot_steps) if name in files]


def _percent(name: str) -> str:
    """The words of a snapshot's link: "5 %"."""
    return f"{int(''.join(filter(str.isdigit, name)))} %"


def _configuration(config: Any) -> list[Child]:
    """Every constant, and every setting of the families that were trained."""
    rows = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not dataclasses.is_dataclass(value):
            rows.append((field.name.upper(), _value(value), about(field).meaning))
        elif field.name.upper() in config.models:
            rows += [
                (f"{field.name.upper()}.{own.name}", _value(getattr(value, own.name)), about(own).meaning)
                for own in dataclasses.fields(value)
            ]
    others = [name for name in MODELS if name not in config.models]
    rest = f"The settings of families that were not trained ({', '.join(others)}) are in {results.METRICS_FILE}."
    table = layout.facts("Constants and settings", rows, ("name", "value", "meaning"))
    return [table, layout.paragraph(rest) if others else None]


def _value(value: Any) -> str:
    return repr(results.plain(value)) if isinstance(value, tuple | list | dict) else repr(value)


def _provenance(origin: Mapping[str, Any]) -> Element:
    """What it takes to run the same again, and what it took."""
    commit = "not known: the program was in no checkout of its own repository"
    if origin["git"] is not None:
        commit = origin["git"] + (", with changes that are not recorded" if origin["dirty"] else "")
    memory = origin["peak_memory_bytes"]
    rows = {
        "command": origin["command"],
        "commit": commit,
        "started (UTC)": origin["started"],
        "continued (UTC)": "; ".join(origin["resumed"]) or "never",
        "time": f"{origin['seconds']:.1f} s",
        "memory": "not known" if memory is None else f"{memory / 2**30:.2f} GiB at most",
        "device": origin["device"],
        "versions": ", ".join(f"{name} {version}" for name, version in origin["versions"].items()),
        "input files": "; ".join(f"{name} (SHA-256 {found})" for name, found in origin["inputs"].items()) or "none",
        "run": origin["run"],
    }
    return layout.facts("Where these results come from", list(rows.items()), ("what", "value"))


def _files(outcome: Outcome, files: Sequence[str]) -> Element:
    """Every file of the run, as a link."""
    words = {name: caption.title for name, caption in captions(outcome).items()}
    words |= {name: f"snapshot of the timeline at {_percent(name)}" for name in _snapshots(outcome, files)}
    words |= CONTENTS | {layout.FILE: "this page"}
    rows = [(layout.link(name, name), words.get(name, "")) for name in files]
    return layout.facts("Files of this run", rows, ("file", "content"))
