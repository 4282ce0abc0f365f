"""The schema of metrics.json: that it is strict, that it is the program's, and that no test writes past it."""

import copy
import dataclasses
import json
import re
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from report_schema import checked, faults, made_report

import generative_models_GAN_VAE_RBM_benchmarks as script
import metrics
from benchmark.asked import config as configuration
from benchmark.engine import devices
from benchmark.files import results
from benchmark.run import replay
from core import storage
from kinds.registry import KINDS

SCHEMA = replay.validator().schema
# Keys that a report may lack, and values that it may not know, as ways to them.
OPTIONAL = re.compile(
    r"provenance\.inputs\..*|provenance\.environment\.variables\.\w+"
    rf"|config\.({'|'.join(configuration.OWN).lower()})(\.\w+)?"
    r"|metric_seconds\.\w+|floor\.(?!(kld|wasserstein)$)\w+|(.*\.)?floor\.\w+\.quantiles"
    r"|(models|external)\.\w+|external\.\w+\.floor\.\w+|models\.\w+\.history\.(?!(step|kld|wasserstein)$)\w+"
)
NULL = re.compile(
    r"partial|provenance\.(git|dirty|peak_memory_bytes)|provenance\.environment\.flags\.\w+"
    r"|target\.(entropy|log_prob_kind|discretisation_error)|config\.external_samples\.0\.2|external\.\w+\.n_(params|samples)"
    r"|models\.\w+\.(operations_per_step|memory_bytes|(samples|seed_steps)_per_second|log_prob_kind)"
    r"|models\.\w+\.diverged_at_step\.0|(models|external)\.\w+\.(log_likelihood|memorisation)\.0\.\w+"
    r"|models\.\w+\.history\.(?!step)\w+\.0\.0|(models|external)\.\w+\.final\.\w+(\.(median|low|high|seeds\.0))?"
)


@pytest.fixture
def report(make_config):
    """A sound report with everything in it that there can be."""
    config = make_config(
        models=("RBM", "VAE"), n_samples_train=30, num_bins=6, external_samples=(("QCBM", "qcbm.npy", None),)
    )
    made = made_report(config)
    made["target"]["split"] = {
        "train_share": 0.5, "seed": 3, "n_train": 30, "n_held_out": 30, "mean": [0.1], "deviation": [1.0]
    }  # fmt: skip
    made["provenance"] |= {"resumed": ["2026-01-01T00:00:00+00:00 on 2 × cpu"], "inputs": {"qcbm.npy": "0" * 64}}
    made["provenance"]["environment"]["variables"] = {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}
    made["metric_seconds"] = dict.fromkeys(("wasserstein_exact", "mmd2", "modes", "classifier_accuracy"), 0.5)
    summary, floor = made["models"]["RBM"]["final"]["kld"], made["floor"]["kld"]
    plain = {part: value for part, value in floor.items() if part != "quantiles"}
    made["floor"] = {name: floor if name == "kld" else plain for name in KINDS["real"].reported}
    parts = {"train": -1.0, "held_out": -2.0}
    for model in made["models"].values():
        model["final"] = {name: model["final"].get(name) or summary for name in KINDS["real"].reported}
        model |= {"log_prob_kind": "exact", "log_likelihood": [parts] * 2}
        model["memorisation"] = [{"train": 0.1, "held_out": 0.2}] * 2
    one = {"median": 0.02, "low": 0.02, "high": 0.02, "seeds": [0.02]}
    made["external"]["QCBM"] = {
        "n_params": None,
        "n_samples": 64,
        "final": {name: one if name != "kl_exact" else None for name in KINDS["real"].reported},
        "memorisation": [{"train": 0.1, "held_out": 0.2}],
        "floor": {name: plain for name in KINDS["real"].reported if name != "kl_exact"},
    }
    # Nothing of it is shared any more.
    made = json.loads(json.dumps(made))
    assert list(faults(made)) == []
    return made


@pytest.fixture
def of_one_family(report):
    """The same in less: one family's place in the schema is every one's."""
    return report | {"models": {"RBM": report["models"]["RBM"]}}


def is_valid(report):
    return replay.validator().is_valid(report)


def places(value, path=()):
    """Every mapping, list and leaf with the way to it; of a list the first entry, in which the others are alike."""
    yield path, value
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from places(entry, (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def changed(report, path, value):
    """Another value in one place; what is on the way to it is copied, the rest shared."""
    if not path:
        return value
    new = copy.copy(report)
    new[path[0]] = changed(report[path[0]], path[1:], value) if path[1:] else value
    return new


def is_among(path, names):
    return bool(names.fullmatch(".".join(map(str, path))))


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]


def test_exactly_what_may_be_missing_may_be_missing(of_one_family):
    report = of_one_family
    for path, value in places(report):
        if isinstance(value, dict):
            for key in value:
                without = {name: entry for name, entry in value.items() if name != key}
                assert is_valid(changed(report, path, without)) == is_among((*path, key), OPTIONAL), (*path, key)
    # An interrupted run has more to it.
    partial = {"signal": "SIGTERM", "steps": {"RBM": 4}}
    assert is_valid(report | {"partial": partial})
    assert is_valid(report | {"partial": partial | {"steps": {}}})
    for key in partial:
        assert not is_valid(report | {"partial": {name: partial[name] for name in partial if name != key}})


def test_nothing_else_may_be_there(of_one_family):
    report = of_one_family
    for path, value in places(report):
        if isinstance(value, dict):
            assert not is_valid(changed(report, (*path, "Unexpected!"), 0)), path
    assert not is_valid(report | {"partial": {"signal": "SIGINT", "steps": {}, "more": 1}})
    assert not is_valid(report | {"partial": {"signal": "SIGKILL", "steps": {}}})


def test_every_value_has_its_type_and_exactly_what_may_be_null_may_be_null(of_one_family):
    report = of_one_family
    for path, value in places(report):
        # Own settings may be of any type: their Config knows which.
        is_setting = path[:1] == ("config",) and len(path) > 2 and path[1] in map(str.lower, configuration.OWN)
        if isinstance(value, dict | list):
            assert is_setting or not is_valid(changed(report, path, 3)), path
            continue
        for other in ([], {}):
            assert not is_valid(changed(report, path, other)), path
        # A family's own settings may be of any type: its Config knows which.
        is_setting = path[0] == "config" and path[1] in map(str.lower, configuration.OWN)
        if value is not None and not is_setting:
            assert not is_valid(changed(report, path, 3.5 if isinstance(value, str) else "1")), path
        assert is_valid(changed(report, path, None)) == is_among(path, NULL), path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", 2),
        ("files", ["a", "a"]),
        ("files", ["../metrics.json"]),
        ("config.num_seeds", 0),
        ("config.num_seeds", 2**31),
        ("config.num_bins", 1),
        ("config.snapshot_percent", 101),
        ("config.kld_epsilon", 0),
        ("config.kld_epsilon", 1),
        ("config.decode", "mean"),
        ("config.compilation_cache", "yes"),
        ("config.models", ["RBM", "RBM"]),
        ("config.models", ["../RBM"]),
        ("config.external_samples", [["a/b", "f.npy", None]]),
        ("config.external_samples", [["a", "f.npy"]]),
        ("config.mixture_means", [[1.0]]),
        ("config.mixture_weights", [10**400]),
        ("config.rbm", {"k": 10**400}),
        ("config.external_samples", [[" ", "f.npy", None]]),
        ("config.external_samples", [["a", "f.npy", 10**15 + 1]]),
        ("provenance.git", "main"),
        ("provenance.inputs", {"f.npy": "0" * 63}),
        ("provenance.started", "yesterday"),
        ("provenance.resumed", ["later"]),
        ("provenance.seconds", -1),
        ("target.dim", 3),
        ("target.box", []),
        ("target.discretisation_error", -0.1),
        ("floor.kld.mean", -1e-9),
        ("floor.kld.quantiles", [0.1] * 40),
        ("models.RBM.n_params", -1),
        ("models.RBM.history.step", []),
        ("models.RBM.history.kld", [[-0.1]]),
        ("models.RBM.final.kld.seeds", []),
        ("models.RBM.final.classifier_accuracy.median", 1.1),
        ("models.RBM.log_prob_kind", "guess"),
        ("models.RBM.diverged_at_step", [-1]),
        ("external.QCBM.n_samples", 3),
    ],
)
def test_values_have_their_range(report, path, value):
    assert not is_valid(changed(report, path.split("."), value))


def test_a_long_name_is_judged_as_fast_as_it_is_read(report):
    """Where a pattern goes back over it again and again, this takes a minute, and a longer one hours."""
    began = time.process_time()
    for name in ("a" * 10**5 + "/", " " * 10**5, " a" * 10**5 + "/"):
        assert not is_valid(changed(report, ("config", "external_samples"), [[name, "f.npy", None]]))
        assert not is_valid(changed(report, ("external",), {name: report["external"]["QCBM"]}))
    assert time.process_time() - began < 10


def test_a_negative_estimate_is_none_of_these(report):
    for metric in ("mmd2", "kl_exact"):
        assert is_valid(changed(report, ("models", "RBM", "final", metric, "median"), -1e-6))
        assert is_valid(changed(report, ("floor", metric, "mean"), -1e-6))


def test_it_has_the_program_s_names():
    constants = {field.name for field in dataclasses.fields(configuration.BenchmarkConfig)}
    assert set(SCHEMA["properties"]["config"]["properties"]) == constants - set(map(str.lower, configuration.OWN))
    assert list(SCHEMA["$defs"]["final"]["properties"]) == list(metrics.METRICS)
    assert list(SCHEMA["$defs"]["floors"]["properties"]) == list(metrics.METRICS)
    assert SCHEMA["$defs"]["finalOfNumbers"]["required"] == list(KINDS["real"].reported)
    assert {name for kind in KINDS.values() for name in kind.reported} == set(metrics.METRICS)
    parts = SCHEMA["properties"]["provenance"]["properties"]
    environment = parts["environment"]["properties"]
    assert set(environment["flags"]["properties"]) == set(devices._FLAGS)
    assert set(environment["variables"]["properties"]) == set(devices._VARIABLES)
    assert set(parts["versions"]["properties"]) == {"python", *results._PACKAGES}
    assert SCHEMA["properties"]["schema"]["const"] == results.SCHEMA


def test_every_entry_is_described():
    def entries(schema):
        yield from schema.get("properties", {}).items()
        for part in ("properties", "$defs"):
            for entry in schema.get(part, {}).values():
                yield from entries(entry)
        for part in ("items", "additionalProperties"):
            if isinstance(schema.get(part), dict):
                yield from entries(schema[part])

    # Names that say it, and pairs whose parent does.
    plain = {"train", "held_out", *devices._FLAGS, *devices._VARIABLES, "python", *results._PACKAGES}
    missing = [name for name, entry in entries(SCHEMA) if "description" not in entry and name not in plain]
    assert set(missing) <= {"wasserstein_exact", "mmd2", "modes", "classifier_accuracy"}


def test_the_output_in_the_repository_is_sound():
    checked(Path(script.__file__).parent / "results_classical_benchmarks" / "default_run")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("files", ["a.png"], "without this one"),
        ("target.name", "1D_BETA", "another one than config.target_type"),
        ("target.box", [[-1, 1]] * 2, "no range for every coordinate"),
        ("target.discretisation_error", None, "goes with bins"),
        ("target.split", None, "goes with a fixed training set"),
        ("config.models", ["RBM"], "models are not those that were asked for"),
        ("config.external_samples", [], "external entries are not those that were asked for"),
        ("models.RBM.history.step", [0, 4, 9], "not that of the scores"),
        ("models.RBM.history.loss", [[0.1] * 3], "history.loss is not [S][E]"),
        ("models.RBM.history.loss", [[0.1] * 2] * 2, "history.loss is not [S][E]"),
        ("models.RBM.final.mmd2.seeds", [0.02], "final.mmd2.seeds is not [S]"),
        ("models.RBM.diverged_at_step", [None], "is not [S]"),
        ("models.RBM.memorisation", [{"train": 1, "held_out": 1}], "neither empty nor [S]"),
        ("models.RBM.final.kld", None, "final.kld is not defined"),
        ("models.RBM.final.kld.seeds", [0.02, 0.02], "not the last of its history"),
        ("models.RBM.diverged_at_step", [None, 4], "seed 1 has diverged and has scores"),
        ("models.RBM.final.kld.median", 0.5, "the median is not between low and high"),
        ("models.RBM.final.high_quality.low", None, ""),
        ("models.RBM.final.high_quality.high", None, "the median is not between low and high"),
        ("models.RBM.final.mmd2", None, "metrics are not those that have a floor"),
        ("external.QCBM.final.kl_exact", {"median": 1, "low": 1, "high": 1, "seeds": [1]}, "external.QCBM: metrics"),
        ("external.QCBM.final.kld.seeds", [0.02, 0.02], "an entry has one seed"),
        ("floor.kld.low", 0.5, "quantiles are not in order"),
        ("floor.kld.quantiles", [0.2, *[0.1] * 40], "quantiles are not in order"),
    ],
)  # fmt: skip
def test_what_no_schema_can_say_is_checked_as_well(report, path, value, said):
    found = list(faults(changed(report, path.split("."), value)))
    assert any(said in fault for fault in found) if said else not found


def test_an_interrupted_run_has_what_it_came_to(report):
    del report["models"]["VAE"]
    report["partial"] = {"signal": "SIGINT", "steps": {"RBM": 8}}
    assert list(faults(report)) == []
    report["partial"]["steps"]["RBM"] = 4
    assert any("last step" in fault for fault in faults(report))


@pytest.mark.parametrize("content", [b'{"schema": NaN}', b'{"schema": 1}', b"3"])
def test_no_test_writes_a_report_that_is_not_sound(tmp_path, content):
    with pytest.raises(pytest.fail.Exception, match=r"no JSON|is not sound: \$: "):
        storage.write_whole(tmp_path / results.METRICS_FILE, content)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_listed_and_missing_is_noticed(report, tmp_path):
    report["files"] = ["a.png", results.METRICS_FILE]
    for missing in (True, False):
        if missing:
            with pytest.raises(pytest.fail.Exception, match=r"there is no a\.png"):
                storage.write_whole(tmp_path / results.METRICS_FILE, results.json_bytes(report))
            (tmp_path / "a.png").write_bytes(b"")
    storage.write_whole(tmp_path / results.METRICS_FILE, results.json_bytes(report))
    assert checked(tmp_path) == report


def test_a_run_that_writes_one_fails_its_test_whatever_catches_exceptions(here, monkeypatch):
    np.savetxt("masses.csv", np.full(5, 0.2))
    whole = results.report

    def broken(*args):
        report = whole(*args)
        return report | {"floor": report["floor"] | {"kld": None}}

    monkeypatch.setattr(results, "report", broken)
    words = ["--models", "--external-probabilities", "uniform", "masses.csv", "1", "--num-bins", "5"]
    words += ["--n-eval-samples", "64", "--sweep", "SEED=1", "--no-sweep-pictures", "--out-dir", "out"]
    with pytest.raises(pytest.fail.Exception, match=re.escape("$.floor.kld: None is not of type 'object'")):
        script.main(words)
    assert not (here / "out/SEED=1" / results.METRICS_FILE).exists()


def test_a_report_that_names_its_kind_needs_less(report):
    kind = changed(report, ["target"], {name: value for name, value in report["target"].items() if name != "box"})
    assert not is_valid(kind)
    assert is_valid(changed(kind, ["target", "kind"], "circle"))
    alone = changed(kind, ["target", "kind"], "circle")
    alone = changed(alone, ["floor"], {"kld": report["floor"]["kld"]})
    assert is_valid(alone)
    assert not is_valid(changed(alone, ["target"], report["target"]))
