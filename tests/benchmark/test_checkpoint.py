"""A run that ends at any moment goes on from what it has kept, and comes to the very same results."""

import dataclasses
import hashlib
import json
import re

import html_checks
import numpy as np
import pytest

from benchmark.files import archive, checkpoint, exports, identity, kept, results
from benchmark.run import checks, fitting, one_run
from core import interruption, storage
from core.errors import OutputError, UserError
from kinds.real import closing, judging
from models import latent_density

N_INTERVALS = 4


class Crash(BaseException):
    """Ends a run as a kill does: nothing is tidied up."""


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """Keeps progress after every interval, and spares what is tested elsewhere."""
    monkeypatch.setattr(checkpoint, "_SECONDS_APART", 0.0)
    monkeypatch.setattr(checkpoint, "_TIMES_APART", 0)
    monkeypatch.setattr(closing, "N_HOST_DRAWS", 2)
    monkeypatch.setattr(latent_density, "_Z_SPACING", (0.5, 0.5))
    monkeypatch.setattr(judging, "N_FLOOR_DRAWS", 5)


@pytest.fixture
def config(make_config):
    # States that hold more than weights; rows that travel into the training; a seed that only fills a device.
    config = make_config(
        models=("VAE", "RBM"),
        num_bins=4,
        n_steps=8,
        n_evaluations=N_INTERVALS,
        num_seeds=3,
        parameter_budget=60,
        hidden_layers=1,
        n_samples_train=40,
    )
    return dataclasses.replace(config, rbm=dataclasses.replace(config.rbm, algorithm="PCD"))


@pytest.fixture
def crash_after(monkeypatch):
    """Has the training crash once so many of its intervals are over."""
    train = fitting.train

    def arrange(n):
        left = [n]

        def crashing(*args, pause, **more):
            def counted(run, leaves):
                stop = pause(run, leaves)
                left[0] -= 1
                if left[0] == 0:
                    raise Crash
                return stop

            return train(*args, pause=counted, **more)

        monkeypatch.setattr(fitting, "train", crashing)

    return arrange


def execute(config, folder, fresh=False):
    folder.mkdir(exist_ok=True)
    job = checks.check(config)
    one_run.execute(job, folder, one_run.Started.now([])._replace(fresh=fresh), with_pictures=False)


def contents(folder):
    """All that a run promises to be the same: everything but times."""
    report = results.timeless(json.loads((folder / results.METRICS_FILE).read_text()))
    arrays = {}
    for name in (results.SAMPLES_FILE, results.PARAMETERS_FILE):
        with np.load(folder / name) as file:
            arrays |= {f"{name}/{key}": (file[key].dtype, file[key].shape, file[key].tobytes()) for key in file}
    return report, arrays, (folder / results.CSV_FILE).read_bytes()


@pytest.fixture
def undisturbed(config, tmp_path):
    """What nobody's interference leads to."""
    if not _UNDISTURBED:
        execute(config, tmp_path / "undisturbed")
        assert not (tmp_path / "undisturbed" / kept.FOLDER).exists()
        _UNDISTURBED.append(contents(tmp_path / "undisturbed"))
    return _UNDISTURBED[0]


_UNDISTURBED = []


@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.slow), N_INTERVALS + 1])
def test_a_killed_run_goes_on_to_the_same_results(config, tmp_path, crash_after, capsys, n, undisturbed):
    folder = tmp_path / "out"
    crash_after(n)
    with pytest.raises(Crash):
        execute(config, folder)
    assert not (folder / results.METRICS_FILE).exists()
    capsys.readouterr()
    crash_after(-1)
    execute(config, folder)
    said = capsys.readouterr().out
    # What has come to its end is kept with what follows it.
    reached = "VAE from step 2" if n == 1 else "VAE from step 8, RBM from step 2"
    assert f": {reached} (--fresh starts over)" in said
    assert contents(folder) == undisturbed
    assert not (folder / kept.FOLDER).exists()
    origin = json.loads((folder / results.METRICS_FILE).read_text())["provenance"]
    assert len(origin["resumed"]) == 1


def test_a_run_that_crashes_again_and_again_ends_the_same(config, tmp_path, crash_after, undisturbed):
    for _ in range(2):
        crash_after(N_INTERVALS - 1)
        with pytest.raises(Crash):
            execute(config, tmp_path / "out")
    execute(config, tmp_path / "out")
    assert contents(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("side", [pytest.param(4, marks=pytest.mark.slow), 6])
def test_chains_go_on_where_they_were(make_config, tmp_path, crash_after, side):
    config = make_config(
        num_bins=0, target_type="BITS_ISING", models=("GIBBS", "SWENDSEN_WANG"), n_evaluations=N_INTERVALS,
        bits=dataclasses.replace(make_config().bits, height=side, width=side),
    )  # fmt: skip
    # In the second family, whose chains have moved for one interval.
    crash_after(N_INTERVALS + 2)
    with pytest.raises(Crash):
        execute(config, tmp_path / "out")
    crash_after(-1)
    execute(config, tmp_path / "out")
    execute(config, tmp_path / "undisturbed")
    found = contents(tmp_path / "out")
    assert found == contents(tmp_path / "undisturbed")
    assert found[0]["models"]["SWENDSEN_WANG"]["sampling"][0]["sweeps"] == 8


def test_what_was_trained_outlives_a_failure_at_the_end(config, tmp_path, monkeypatch, undisturbed):
    whole = one_run.close

    def failing(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(one_run, "close", failing)
    with pytest.raises(ZeroDivisionError):
        execute(config, tmp_path / "out")
    monkeypatch.setattr(one_run, "close", whole)
    monkeypatch.setattr(fitting, "train", failing)
    execute(config, tmp_path / "out")
    assert contents(tmp_path / "out") == undisturbed


def test_a_signal_is_told_whether_all_is_kept(config, tmp_path, monkeypatch):
    asked, whole = [], storage.os.fsync
    close = one_run.close

    def closing(*args):
        keep = interruption._state.keep
        with monkeypatch.context() as patched:
            patched.setattr(storage.os, "fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left")))
            asked.append(keep())
        assert storage.os.fsync is whole
        asked.append(keep())
        return close(*args)

    monkeypatch.setattr(one_run, "close", closing)
    execute(config, tmp_path)
    assert asked == [False, True]


def test_a_disk_that_is_full_is_said_and_loses_nothing_that_was_there(config, tmp_path, monkeypatch, capsys):
    execute(config, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    whole = storage.os.fsync

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device.*unchanged.*what was trained is lost"):
        execute(config, tmp_path)
    assert capsys.readouterr().err.count("progress cannot be kept (No space left on device)") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    monkeypatch.setattr(storage.os, "fsync", whole)
    monkeypatch.setattr(exports, "write_samples", lambda *args: full(None))
    with pytest.raises(OutputError, match="what was trained is kept"):
        execute(config, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.fixture
def unfinished(config, tmp_path, crash_after):
    """A folder with the checkpoint of a run that was killed in its second family."""
    folder = tmp_path / "out"
    crash_after(N_INTERVALS + 1)
    with pytest.raises(Crash):
        execute(config, folder)
    crash_after(-1)
    return folder


def refused(config, folder, monkeypatch):
    """What is said where too much would be lost."""
    monkeypatch.setattr(kept, "_LITTLE_SECONDS", 0.0)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as error:
        execute(config, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert "\n" not in str(error.value)
    assert "--fresh" in str(error.value)
    return str(error.value)


def test_another_run_is_refused_and_can_start_over(config, unfinished, monkeypatch):
    other = dataclasses.replace(config, parameter_budget=70)
    said = refused(other, unfinished, monkeypatch)
    assert "unfinished run (RBM at step 2) with PARAMETER_BUDGET = 60, not 70" in said
    setting = dataclasses.replace(config, vae=dataclasses.replace(config.vae, learning_rate=0.5))
    assert "VAE.learning_rate = 0.003, not 0.5" in refused(setting, unfinished, monkeypatch)
    # Where it is and whether programs are kept is no part of a run.
    checkpoint.check(unfinished, dataclasses.replace(config, out_dir="x", compilation_cache="off"))
    with monkeypatch.context() as patched:
        patched.setattr(results, "versions", lambda: {"jax": "0.0"})
        assert "another version of the program (" in refused(config, unfinished, monkeypatch)
    execute(other, unfinished, fresh=True)
    assert not (unfinished / kept.FOLDER).exists()
    assert json.loads((unfinished / results.METRICS_FILE).read_text())["config"]["parameter_budget"] == 70


def test_the_work_of_a_few_minutes_stands_in_nobody_s_way(config, unfinished, monkeypatch, capsys):
    other = dataclasses.replace(config, parameter_budget=70)
    checkpoint.check(unfinished, other)
    monkeypatch.setattr(kept, "_LITTLE_SECONDS", 0.0)
    with pytest.raises(UserError, match="name another OUT_DIR, or give it up with --fresh"):
        checkpoint.check(unfinished, other)
    monkeypatch.undo()
    execute(other, unfinished)
    said = capsys.readouterr().out
    run = f"OUT_DIR {str(unfinished)!r} holds an unfinished run (RBM at step 2) with PARAMETER_BUDGET = 60, not 70"
    assert re.search(re.escape(run) + r": it had taken \d+ s and is given up", said)
    assert json.loads((unfinished / results.METRICS_FILE).read_text())["config"]["parameter_budget"] == 70


def test_changed_files_of_the_program_are_noticed(config, unfinished, monkeypatch):
    monkeypatch.setattr(identity, "program", lambda: "other")
    assert "another version of the program (its files)" in refused(config, unfinished, monkeypatch)


def test_other_training_rows_are_noticed(make_config, tmp_path, crash_after, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(60, 1))
    np.save(tmp_path / "rows.npy", rows)
    config = make_config(target_type="CUSTOM", custom_file=str(tmp_path / "rows.npy"), models=("VAE",), num_bins=0,
                         n_steps=4, parameter_budget=60, hidden_layers=1)  # fmt: skip
    crash_after(1)
    with pytest.raises(Crash):
        execute(config, tmp_path / "out")
    np.save(tmp_path / "rows.npy", rows + 1e-6)
    assert "CUSTOM_FILE has changed" in refused(config, tmp_path / "out", monkeypatch)


def test_a_damaged_checkpoint_is_said_and_kept(config, unfinished, monkeypatch):
    path = unfinished / kept.FOLDER / "RBM.npz"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert f"checkpoint {str(path)!r} is damaged (its checksum differs)" in refused(config, unfinished, monkeypatch)
    path.write_bytes(content)
    (path.parent / "VAE.npz").write_bytes(content)
    assert "is damaged" in refused(config, unfinished, monkeypatch)
    (path.parent / "VAE.npz").unlink()
    # Made up, with a checksum.
    for family, own in ({"steps": []}, {}), ([], {}), ({"steps": [4]}, []), ({"steps": [4]}, 3):
        about = {"schema": identity.SCHEMA, "families": {"RBM": family}, "config": own}
        with open(path, "wb") as file:
            np.savez(file, about=np.array(json.dumps(about)))
        with open(path, "ab") as file:
            file.write(archive._MARK + hashlib.sha256(path.read_bytes()).hexdigest().encode() + b"\n")
        assert f"checkpoint {str(path)!r} is damaged" in refused(config, unfinished, monkeypatch)


def test_what_a_link_leads_to_is_neither_read_nor_removed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.npz").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / kept.FOLDER).symlink_to(tmp_path / "mine")
    for open_or_remove in (
        lambda folder: checkpoint.open_in(folder, None, fresh=True),
        lambda folder: checkpoint.open_in(folder, None),
        checkpoint.remove,
        checkpoint.remove_all,
    ):
        with pytest.raises(UserError, match="is a link, which no run has made: remove it"):
            open_or_remove(tmp_path / "out")
    assert (tmp_path / "mine" / "precious.npz").exists()


def test_files_of_two_runs_do_not_mix(config, unfinished, tmp_path, monkeypatch):
    """Somebody has copied one."""
    place = unfinished / kept.FOLDER
    found = archive.read(place / "VAE.npz")
    job = checks.check(config)
    run = archive.run_of(job.models[0], fitting.feed_of(job), found.about["families"]["VAE"], found.arrays("VAE"))
    about = {name: value for name, value in found.about.items() if name != "families"} | {"run": "another"}
    cost = one_run.Cost(**found.about["families"]["VAE"]["cost"])
    archive.write(place / "VAE.npz", about, [archive.entry_of(run, cost)])
    assert "another run than the files beside it" in refused(config, unfinished, monkeypatch)


def test_a_finished_run_protects_nothing(config, unfinished):
    """One that was killed between its last file and the end of its checkpoint."""
    place = unfinished / kept.FOLDER
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    execute(config, unfinished)
    place.mkdir()
    for name, content in before.items():
        (place / name).write_bytes(content)
    execute(dataclasses.replace(config, parameter_budget=70), unfinished)
    assert not place.exists()


def test_writing_takes_at_most_its_share(config, tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint.time, "perf_counter", lambda: clock[0])
    job = checks.check(config)
    progress = checkpoint.open_in(tmp_path, job)
    written = []

    def write(path, about, entries):
        written.append(clock[0])
        clock[0] += 0.5

    monkeypatch.setattr(archive, "write", write)
    cost = one_run.Cost(None, 16, None)
    run = one_run.Run(job.models[0], [], [], [], 0.0, 0.0, 0.0)
    for _ in range(4000):
        clock[0] += 0.1
        progress.progress(run, iter(()), cost, 10**6)
    assert written[0] == pytest.approx(100 + checkpoint._SECONDS_APART, abs=0.2)
    assert len(written) > 10
    assert progress.seconds_writing / (clock[0] - 100) < 0.02
    # Of a large model the first one waits until its size is worth it, before anything has been timed.
    clock[0], written[:] = 100.0, []
    progress = checkpoint.open_in(tmp_path, job)
    for _ in range(2000):
        clock[0] += 0.1
        progress.progress(run, iter(()), cost, 2 * 10**8)
    assert written[0] == pytest.approx(200, abs=0.2)


@pytest.mark.slow
def test_seeds_that_several_processes_train_go_on_as_well(config, tmp_path, crash_after):
    job = checks.check(config)
    whole, _ = one_run.train_seeds(job, range(1, 3), tmp_path)
    checkpoint.remove_all(tmp_path)
    crash_after(N_INTERVALS + 2)
    with pytest.raises(Crash):
        one_run.train_seeds(job, range(1, 3), tmp_path)
    assert [path.parent.name for path in checkpoint.files_in(tmp_path)] == ["checkpoint-1-2"] * 2
    crash_after(-1)
    again, _ = one_run.train_seeds(job, range(1, 3), tmp_path)
    for one, other in zip(again, whole, strict=True):
        for a, b in zip(one.evaluations, other.evaluations, strict=True):
            np.testing.assert_equal(a.metrics, b.metrics)
            np.testing.assert_equal(a.info, b.info)
        for a, b in zip(one.states, other.states, strict=True):
            np.testing.assert_equal(archive.jax.tree.leaves(a), archive.jax.tree.leaves(b))


@pytest.mark.parametrize(
    ("n", "reached"), [pytest.param(1, {"VAE": 4}, marks=pytest.mark.slow), (4, {"VAE": 8, "RBM": 4})]
)
def test_an_interrupted_run_writes_what_it_has_and_goes_on(
    config, tmp_path, monkeypatch, capsys, n, reached, undisturbed
):
    left, requested = [n], [None]
    progress = checkpoint.Checkpoint.progress

    def asked(self, *args, now=False):
        del now
        left[0] -= 1
        if left[0] <= 0:
            requested[0] = interruption.signal.SIGTERM
        progress(self, *args, now=left[0] <= 0)

    folder = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.Checkpoint, "progress", asked)
        patched.setattr(interruption, "requested", lambda: requested[0])
        with pytest.raises(interruption.Interrupted):
            execute(config, folder)
    said = capsys.readouterr().out
    assert "interrupted (SIGTERM): these are partial results, marked as such; the same command, without --fr" in said
    report = json.loads((folder / results.METRICS_FILE).read_text())
    assert report["partial"] == {"signal": "SIGTERM", "steps": reached}
    assert list(report["models"]) == list(reached)
    for name, step in reached.items():
        assert report["models"][name]["history"]["step"][-1] == step
        assert report["models"][name]["final"]["kld"]["median"] >= 0
    assert "Partial results: SIGTERM ended this run early." in html_checks.checked(folder / "index.html").text
    assert (folder / kept.FOLDER).is_dir()
    execute(config, folder)
    page = html_checks.checked(folder / "index.html")
    assert "Partial" not in page.text
    assert " on 2 × cpu" in page.cells[page.cells.index("continued (UTC)") + 1]
    assert contents(folder) == undisturbed
