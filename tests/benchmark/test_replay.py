"""Replaying a recorded run: that it comes to the same, that what does not is found, and what is refused."""

import contextlib
import copy
import dataclasses
import hashlib
import io
import json
import os
import shutil
import zipfile

import jax
import numpy as np
import pytest
from conftest import tree
from report_schema import checked, made_report

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked import inputs
from benchmark.files import results
from benchmark.run import comparing, replay
from models import MODELS

SMALL = (
    "--models RBM --num-bins 4 --n-steps 8 --n-evaluations 2 --snapshot-percent 50 --num-seeds 2 --n-eval-samples "
    "64 --batch-size 16 --parameter-budget 60 --hidden-layers 1 --external-samples QCBM qcbm.npy 120"
)
# One worker makes what most tests read.
pytestmark = pytest.mark.xdist_group("replay")
FORM = "is not what a run writes: at $"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with a run's output and what it has read: a cell of a sweep, which draws no pictures."""
    folder = tmp_path_factory.mktemp("recorded")
    # As the tests that replay it compile.
    jax.config.update("jax_disable_most_optimizations", True)
    with contextlib.chdir(folder):
        np.save("qcbm.npy", np.random.default_rng(0).normal(size=(80, 1)))
        assert script.main([*SMALL.split(), "--sweep", "SEED=7", "--no-sweep-pictures", "--out-dir", "sweep"]) == 0
        shutil.copytree("sweep/SEED=7", "out")
        shutil.rmtree("sweep")
    return folder


@pytest.fixture
def run(recorded, here):
    """The working directory with a copy of the run."""
    shutil.copytree(recorded, here, dirs_exist_ok=True)
    return here


def edit(folder, **more):
    """Changes a run's metrics.json: the way to a value, its words joined by two underscores -> another; ... removes."""
    path = folder / "out" / results.METRICS_FILE
    report = json.loads(path.read_text())
    for way, value in more.items():
        *parents, last = way.split("__")
        place = report
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        if value is ...:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = value
    path.write_text(json.dumps(report))
    return report


def test_a_replay_comes_to_the_same_and_leaves_the_original_alone(run, capsys, monkeypatch):
    monkeypatch.setattr(script, "SWEEP", {"SEED": (1, 2)})
    monkeypatch.setattr(script, "NUM_SEEDS", "no number: of the config block nothing is taken")
    before = tree(run / "out")
    assert script.main(["--replay", "out/metrics.json"]) == 0
    assert tree(run / "out") == before
    said = capsys.readouterr().out
    assert said.startswith("replaying out/metrics.json into out_replay/\nSWEEP of the config block is left out")
    one, two = (checked(run / folder) for folder in ("out", "out_replay"))
    assert two["files"] == sorted([*one["files"], replay.FILE])
    content = (run / "qcbm.npy").read_bytes()
    assert two["provenance"]["inputs"] == {"qcbm.npy": hashlib.sha256(content).hexdigest()}
    assert two["config"] == one["config"] | {"out_dir": "out_replay"}
    for part in ("floor", "target", "external"):
        assert one[part] == two[part]
    found = json.loads((run / "out_replay" / replay.FILE).read_text())
    assert found["same"]
    assert (found["differences"], found["numbers_differing"], found["arrays_differing"]) == ([], 0, 0)
    assert found["sha256"] == hashlib.sha256((run / "out/metrics.json").read_bytes()).hexdigest()
    # The quantiles of four floors alone are 164.
    assert found["numbers"] > 200
    with np.load(run / "out/samples.npz") as samples:
        assert found["arrays"] == len(samples.files) == 4
    n = f"{found['numbers']:,}".replace(",", " ")
    same = f"all {n} numbers and 4 arrays are the same, bit for bit"
    assert said.endswith(f"replayed: {same}\nopen out_replay/index.html in a browser\n")
    assert f"A replay of out/metrics.json: {same}." in (run / "out_replay/index.html").read_text()


def test_what_is_not_the_same_is_shown_with_what_may_explain_it(run, capsys):
    value = json.loads((run / "out/metrics.json").read_text())["models"]["RBM"]["final"]["kld"]["median"]
    edit(
        run,
        models__RBM__final__kld__median=float(np.nextafter(value, 1)),
        models__RBM__width=99,
        provenance__versions__jax="0.0.1",
        provenance__environment__variables={"XLA_FLAGS": "\x1b[31m--xla\nflag"},
    )
    with np.load(run / "out/samples.npz") as samples:
        arrays = dict(samples)
    arrays["RBM"][0, 0] = np.nan
    np.savez(run / "out/samples.npz", **arrays)
    assert script.main(["--replay", "out/metrics.json", "--out-dir", "again"]) == 1
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: line.split()[-4:] for line in lines}
    assert rows["models.RBM.final.kld"][:3] == ["1", "of", "5"]
    assert float(rows["models.RBM.final.kld"][3]) < 1e-15
    assert rows["models.RBM.width"][:3] == ["1", "of", "1"]
    assert rows["samples.npz: RBM"] == ["of", "128", "another", "form"]
    n = json.loads((run / "again" / replay.FILE).read_text())["numbers"]
    assert f"replayed: 2 of {n} numbers and 1 of 4 arrays differ from out/metrics.json" in lines
    page = (run / "again/index.html").read_text()
    assert f"A replay of out/metrics.json: 2 of {n} numbers and 1 of 4 arrays differ from out/metrics.json." in page
    (jax,) = (line for line in lines if line.startswith("versions.jax "))
    assert jax.split()[1] == "0.0.1"
    (flags,) = (line for line in lines if "XLA_FLAGS" in line)
    assert flags.split("  ")[-1].strip() == "–"
    assert "\x1b" not in flags
    checked(run / "again")


@pytest.fixture
def original(make_config):
    """What `replay.opened` would give of a made-up run."""
    config = make_config(models=("RBM",), num_bins=4)
    return comparing.Original("out/metrics.json", made_report(config), "0" * 64, config, None, False)


def compared(original, change=lambda report: None, folder=None):
    """What a replay that comes to the original's numbers but for a change would find."""
    report = copy.deepcopy(original.report)
    change(report)
    return comparing.compare(original, report, folder)


def test_times_costs_and_places_are_not_compared(original):
    def change(report):
        model = report["models"]["RBM"]
        for name in ("train_seconds", "compile_seconds", "samples_per_second", "seed_steps_per_second", "memory_bytes",
                     "operations_per_step", "rows_per_step"):  # fmt: skip
            model[name] = 123
        report["provenance"] |= {
            "command": "x",
            "started": "x",
            "seconds": 9,
            "peak_memory_bytes": 9,
            "resumed": ["x"],
            "checkpoints": {},
        }
        report |= {"files": ["x"], "metric_seconds": {}, "partial": None}

    found = compared(original, change)
    assert (found["same"], found["explanations"]) == (True, [])


CHANGES = [
    ("models RBM final kld median", "models.RBM.final.kld"),
    ("models RBM history kld 1 2", "models.RBM.history.kld"),
    ("models RBM history step 1", "models.RBM.history.step"),
    ("models RBM n_params", "models.RBM.n_params"),
    ("models RBM width", "models.RBM.width"),
    ("models RBM diverged_at_step 0", "models.RBM.diverged_at_step"),
    ("models RBM log_prob_kind", "models.RBM.log_prob_kind"),
    ("models RBM log_likelihood 1", "models.RBM.log_likelihood"),
    ("floor kld quantiles 7", "floor.kld"),
    ("target entropy", "target.entropy"),
    ("target box 0 1", "target.box"),
    ("external QCBM final kld seeds 0", "external.QCBM.final.kld"),
]


@pytest.mark.parametrize(("way", "where"), CHANGES)
@pytest.mark.parametrize("other", ["last bit", "gone", "null"])
def test_every_result_is_compared_to_the_last_bit(original, way, where, other):
    entry = {"n_params": 3, "final": {"kld": {"seeds": [0.5]}}}
    original = original._replace(report=original.report | {"external": {"QCBM": entry}})
    words = [int(word) if word.isdigit() else word for word in way.split()]

    def change(report):
        place = report
        for word in words[:-1]:
            place = place[word]
        value = place[words[-1]]
        if other == "gone":
            del place[words[-1]]
        elif other == "null":
            place[words[-1]] = None if value is not None else 4
        elif isinstance(value, float):
            place[words[-1]] = float(np.nextafter(value, np.inf))
        else:
            place[words[-1]] = 7 if value != 7 else 8

    found = compared(original, change)
    assert not found["same"]
    assert where in [each["where"] for each in found["differences"]]
    assert found["numbers_differing"] <= found["numbers"]


def test_differences_are_sorted_and_relative(original):
    def change(report):
        report["target"]["entropy"] *= 1.5
        report["floor"]["kld"]["mean"] *= 1 + 1e-6
        report["models"]["RBM"]["n_params"] = None

    found = compared(original, change)
    assert [each["where"] for each in found["differences"]] == ["models.RBM.n_params", "target.entropy", "floor.kld"]
    largest = [each["largest"] for each in found["differences"]]
    assert largest[0] is None
    assert largest[1:] == pytest.approx([1 / 3, 1e-6], rel=1e-5)
    assert found["numbers_differing"] == 3


@pytest.mark.parametrize(("one", "other"), [(0.0, -0.0), (10**400, 1.5), (1, 2**80)])
def test_numbers_that_are_hard_to_compare(original, one, other):
    original.report["target"]["entropy"] = one
    found = compared(original, lambda report: report["target"].update(entropy=other))
    assert [each["where"] for each in found["differences"]] == ["target.entropy"]


def test_whole_numbers_and_floats_are_one(original):
    assert compared(original, lambda report: report["models"]["RBM"].update(width=6.0))["same"]


def test_everything_that_may_explain_a_difference_is_named(original):
    def change(report):
        origin = report["provenance"]
        origin |= {"git": "1" * 40, "dirty": True, "device": "1 × gpu", "inputs": {"q.npy": "0" * 64}}
        origin["versions"]["jax"] = "2.0"
        origin["environment"] |= {"instructions": "sse4_2", "n_devices": 1}
        origin["environment"]["flags"]["enable_x64"] = True
        origin["environment"]["variables"]["XLA_FLAGS"] = "--x"

    found = {each["what"]: (each["original"], each["replay"]) for each in compared(original, change)["explanations"]}
    assert found.pop("changes of the program since its commit, which are not recorded") == ("none", "some")
    assert found == {
        "git": ("0" * 40, "1" * 40),
        "versions.jax": ("1.0", "2.0"),
        "device": ("2 × cpu (a processor, 2 cores)", "1 × gpu"),
        "environment.n_devices": (2, 1),
        "environment.instructions": ("avx2 fma", "sse4_2"),
        "environment.flags.enable_x64": (None, True),
        "environment.variables.XLA_FLAGS": (None, "--x"),
        "inputs.q.npy": (None, "0" * 64),
    }


def archive(**members):
    """An .npz of these members: arrays, or the bytes of a member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            if isinstance(content, np.ndarray):
                array = io.BytesIO()
                np.lib.format.write_array(array, content, allow_pickle=True)
                content = array.getvalue()
            file.writestr(f"{name}.npy", content)
    return zipfile.ZipFile(io.BytesIO(buffer.getvalue()))


def header(shape, dtype="<f4"):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"shape": shape, "fortran_order": False, "descr": dtype})
    return content.getvalue()


OWN = np.arange(6, dtype=np.float32).reshape(1, 3, 2)


class Trap:
    """Unpickled, it would tell."""

    def __reduce__(self):
        return (pytest.fail, ("a file was unpickled",))


@pytest.mark.parametrize(
    ("theirs", "differing"),
    [
        ({"RBM": OWN}, []),
        ({"RBM": np.asfortranarray(OWN)}, []),
        ({"RBM": OWN + np.float32([0, 1])}, [("RBM", 3, 0.5)]),
        ({"RBM": np.where(OWN == 0, np.float32(-0.0), OWN)}, [("RBM", 1, 0.0)]),
        ({"RBM": np.where(OWN == 0, np.float32(np.nan), OWN)}, [("RBM", 1, None)]),
        ({}, [("RBM", 6, None)]),
        ({"RBM": OWN, "VAE": OWN}, [("VAE", 1, None)]),
        ({"RBM": OWN.astype(np.float64)}, [("RBM", 6, None)]),
        ({"RBM": OWN[0]}, [("RBM", 6, None)]),
        ({"RBM": np.array([Trap()], object)}, [("RBM", 6, None)]),
        # What the first lines of a file promise costs nothing: it is not believed.
        ({"RBM": header((10**13,))}, [("RBM", 6, None)]),
        ({"RBM": header(OWN.shape)}, [("RBM", 6, None)]),
        ({"RBM": header(OWN.shape) + b"\0" * 10**7}, [("RBM", 5, 1.0)]),
        ({"RBM": b"\0" * 10**7}, [("RBM", 6, None)]),
        ({"RBM": b"\x93NUMPY\x02\x00" + b"\xff" * 100}, [("RBM", 6, None)]),
        ({"RBM": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535}, [("RBM", 6, None)]),
    ],
)
def test_arrays_are_compared_without_trusting_them(original, tmp_path, theirs, differing):
    np.savez(tmp_path / results.SAMPLES_FILE, RBM=OWN)
    with archive(**theirs) as samples:
        found = compared(original._replace(samples=samples), folder=tmp_path)
    assert found["arrays"] == len({"RBM", *theirs})
    named = [(each["where"].removeprefix("samples.npz: "), each["n_differing"], each["largest"])
             for each in found["differences"]]  # fmt: skip
    assert named == differing
    assert found["same"] == (not differing)


def test_without_samples_beside_it_numbers_are_compared_alone(original, capsys):
    found = compared(original)
    replay.tables.replay_tables(found)
    n = found["numbers"]
    assert capsys.readouterr().out == (
        f"replayed: all {n} numbers are the same, bit for bit; there is no samples.npz beside out/metrics.json "
        "to compare\n"
    )


def test_a_long_table_is_cut_and_says_so(original, capsys):
    def change(report):
        report["models"] = {f"F{i}": report["models"]["RBM"] for i in range(30)}

    found = compared(original, change)
    replay.tables.replay_tables(found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[22] == f"… and {len(found['differences']) - 20} more, all in replay.json"
    assert lines[-1] == "nothing that is recorded of the program, its libraries, input and machine has changed"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--replay", "--replay"),
        ("--replay=", "--replay is empty: name a metrics.json"),
        ("--replay out/metrics.jsn", "--replay 'out/metrics.jsn' is not a file; did you mean metrics.json?"),
        ("--replay nowhere/metrics.json", "is not a file"),
        ("--replay out", "is a folder: name the file, 'out/metrics.json'"),
        ("--replay /dev/zero", "is not a file"),
        ("--replay qcbm.npy", "is not JSON: "),
        ("--replay out/metrics.json --seed 3", "--seed cannot stand beside --replay"),
        ("--replay out/metrics.json --sweep SEED=1,2", "--sweep cannot stand beside --replay"),
        ("--outdir x --replay out/metrics.json", "only --out-dir, --fresh, --strict may; did you mean --out-dir?"),
        ("--replay out/metrics.json more", "unknown option more"),
        ("--replay out/metrics.json --out-dir out", "holds the original, which a replay never overwrites"),
        ("--replay out/metrics.json --out-dir link", "holds the original, which a replay never overwrites"),
        ("--replay out/metrics.json --out-dir qcbm.npy", "OUT_DIR 'qcbm.npy' cannot be written"),
    ],
)
def test_a_command_line_that_cannot_be_replayed(run, refusal, words, said):
    (run / "link").symlink_to("out")
    assert said in refusal(*words.split())


FAMILY = dataclasses.asdict(MODELS["RBM"].Config())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, "has schema 2: this version replays schema 1"),
        ({"schema": 10**300}, "has schema 1000"),
        ({"schema": "1"}, f"{FORM}.schema, 1 was expected"),
        ({"floor": ...}, f"{FORM}, 'floor' is a required property"),
        ({"models__RBM__width": "wide"}, f"{FORM}.models.RBM.width, 'wide' is not of type 'integer'"),
        ({"models__RBM__history__kld__0__1": [[[]]]}, f"{FORM}.models.RBM.history.kld[0][1], "),
        ({"config__num_seeds": 0}, f"{FORM}.config.num_seeds, 0 is less than the minimum of 1"),
        ({"config__target_type": "__import__('os')"}, f"{FORM}.config.target_type, "),
        ({"config__new": 3}, f"{FORM}.config.new, 3 is not of type 'object'"),
        ({"config__decode": ...}, f"{FORM}.config, 'decode' is a required property"),
        ({"config__\x1b[31m": 3}, f"{FORM}.config"),
        ({"config__target_type": "1D_BETTA"}, "TARGET_TYPE '1D_BETTA' is unknown: choose from 1D_BIMODAL"),
        ({"config__num_bins": 20.0}, "NUM_BINS = 20.0 must be a whole number; the nearest valid choice is 20"),
        ({"config__n_evaluations": 9}, "N_EVALUATIONS = 9 are more than N_STEPS = 8"),
        ({"config__parameter_budget": 2}, "RBM: PARAMETER_BUDGET = 2 "),
        ({"config__flow": {"k": 1}}, "its family 'flow' is unknown: choose from gan, vae, rbm"),
        ({"config__rbm": FAMILY | {"kk": 1}}, "its setting of RBM 'kk' is unknown: choose from learning_rate, "),
        ({"config__rbm__k": ...}, "its RBM has no k, which this version needs"),
        ({"config__rbm__k": "__import__('os').abort()"}, "RBM.k = \"__import__('os').abort()\" must be a whole number"),
        ({"config__rbm__sigma": True}, "RBM.sigma = True must be above 0"),
        ({"config__rbm__algorithm": "pcd"}, "'pcd' is unknown: choose from auto, CD, PCD"),
        ({"config__external_samples": [["Q", "qcbm.npy", 1]] * 2}, "EXTERNAL_SAMPLES has two entries of one name"),
        ({"config__external_samples": [["RBM", "qcbm.npy", 1]]}, "external name 'RBM' is taken"),
        ({"config__external_samples": [["Q", "gone\x00.npy", 1]]}, "has a letter that no path can have: name another"),
        ({"config__external_samples": [["Q", "gone.npy", 1]]}, "EXTERNAL_SAMPLES['Q'] 'gone.npy' is not a file: bring"),
        ({"config__external_samples": [["Q", "pipe", 1]]}, "EXTERNAL_SAMPLES['Q'] 'pipe' is not a file"),
        ({"provenance__inputs": {}}, "does not say what EXTERNAL_SAMPLES['QCBM'] 'qcbm.npy' held"),
        ({"provenance__inputs": {"qcbm.npy": "0" * 64}}, "'qcbm.npy' is not what it was: its SHA-256 is "),
        ({"partial": {"signal": "SIGTERM", "steps": {}}}, "holds what a run had come to when SIGTERM ended it"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_file_that_cannot_be_replayed(run, refusal, changes, said):
    os.mkfifo(run / "pipe")
    edit(run, **changes)
    assert said in refusal("--replay", "out/metrics.json")


def test_an_input_that_no_run_can_have_read_is_not_read(run, refusal):
    os.truncate(run / "qcbm.npy", 100 * 10**9)
    line = refusal("--replay", "out/metrics.json")
    assert "EXTERNAL_SAMPLES['QCBM'] 'qcbm.npy' cannot be read (it has more than 512 MiB)" in line


def test_an_input_that_has_changed_is_refused_before_anything_is_read_of_it(run, refusal):
    (run / "qcbm.npy").write_bytes(b"other")
    assert "EXTERNAL_SAMPLES['QCBM'] 'qcbm.npy' is not what it was" in refusal("--replay", "out/metrics.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON: Expecting value"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"schema": 1, "files": ' + b"[" * 900 + b"]" * 900 + b"}", "is not what a run writes"),
        (b'{"schema": NaN}', "is not JSON: NaN is no number of JSON"),
        (b'{"schema": ' + b"1" * 5000 + b"}", "is not JSON: Exceeds the limit"),
        (b"\xff\xfe\x00", "is not JSON: "),
        (b'"\\ud800\\u001b[31m"', f"{FORM}, "),
        (b"[1]", f"{FORM}, [1] is not of type 'object'"),
        (b" " * (2**26 + 1), "is not what a run writes: it has more than 64 MiB"),
    ],
    ids=range(9),
)
def test_a_file_that_is_none(here, refusal, content, said):
    (here / "metrics.json").write_bytes(content)
    line = refusal("--replay", "metrics.json")
    assert said in line
    assert line.isprintable()
    assert len(line) < 1000


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive"])
def test_samples_that_are_no_archive(run, refusal, content):
    (run / "out/samples.npz").write_bytes(content)
    assert "'out/samples.npz' beside the original cannot be read" in refusal("--replay", "out/metrics.json")


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("out/metrics.json", "out_replay"),
        ("/a/b c/metrics.json", "/a/b c_replay"),
        ("metrics.json", "{here}_replay"),
        ("../metrics.json", "{above}_replay"),
        ("a/../metrics.json", "{here}_replay"),
    ],
)
def test_a_replay_goes_beside_the_original(here, path, folder):
    assert replay._own_folder(path) == folder.format(here=here, above=here.parent)


def test_a_folder_without_a_name_has_nothing_beside_it():
    with pytest.raises(replay.UserError, match="name another with --out-dir"):
        replay._own_folder("/metrics.json")


def test_every_file_that_a_run_reads_is_known(make_config):
    files = {"custom_file": "rows.csv", "num_bins": 4}
    files["external_samples"] = (("A", "a.npy", None), ("B", "b.npy", 3))
    files["external_probabilities"] = (("C", "c.csv", 3),)
    named = inputs.named_in(make_config(target_type="CUSTOM", **files))
    assert list(named) == ["rows.csv", "a.npy", "b.npy", "c.csv"]
    assert named["c.csv"] == "EXTERNAL_PROBABILITIES['C']"
    # A file that is named and not asked for is not read.
    assert "rows.csv" not in inputs.named_in(make_config(**files))


def test_help_says_what_it_does(capfd):
    with pytest.raises(SystemExit):
        script.main(["--help"])
    assert "--replay" in capfd.readouterr().out
