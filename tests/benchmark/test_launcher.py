"""What is sent to a cluster, as far as it can be told without one: what is left of a sweep, in which tasks, and what
is refused. `test_slurm.py` sends it to a real one."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked import command_line
from benchmark.files import archive, locks, results
from benchmark.run import parts
from benchmark.sweeps import cell_runs, launcher, sweep_merge
from benchmark.sweeps.launcher import Unit
from benchmark.sweeps.sweep_plan import make_plan

SMALL = (
    "--models RBM --num-bins 4 --n-steps 8 --n-evaluations 2 --snapshot-percent 50 --num-seeds 5 --n-eval-samples 64 "
    "--batch-size 16 --parameter-budget 60 --sweep SEED=1,2,3 --launcher slurm"
)
TINY = SMALL.split()


@pytest.fixture
def programs(here, monkeypatch):
    """Stands in for Slurm: programs that note how they were called and say what the test has them say."""
    folder = here / "bin"
    folder.mkdir()

    def say(program, text="", error="", code=0):
        (folder / f"{program}.out").write_text(text)
        (folder / f"{program}.err").write_text(error)
        path = folder / program
        path.write_text(
            f'#!/bin/sh\necho "$@" >> "{folder}/{program}.calls"\ncat "{folder}/{program}.out"\n'
            f'cat "{folder}/{program}.err" >&2\nexit {code}\n'
        )
        path.chmod(0o755)

    for name in ("sbatch", "srun", "squeue"):
        say(name)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return say


@pytest.fixture
def refused(refusal):
    """The line with which a sweep is refused."""
    return lambda *words: refusal(*TINY, *words, "--out-dir", "out")


def command_of(*words):
    return command_line.read(vars(script), [*TINY, "--out-dir", "out", *words], "")


def order_of(*words):
    command = command_of(*words)
    plan = make_plan(command)
    open_cells = [cell for cell in plan.cells if not cell_runs.is_finished(cell)]
    return launcher.order(command, [], vars(script), plan, open_cells)


def part(cell, first, last):
    """Stands in for trained seeds: what is left to do depends on what a part says of itself."""
    folder = Path(cell.config.out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"schema": parts.SCHEMA, "config": results.without_places(cell.config)}
    archive.write(folder / f"seeds-{first}-{last}.npz", about, [])


def submitted(here, *submissions):
    """A record of submissions: (name, sweep, tasks)."""
    (here / "out/slurm").mkdir(parents=True, exist_ok=True)
    content = [{"name": name, "sweep": own, "tasks": tasks} for name, own, tasks in submissions]
    (here / "out/slurm/submitted.json").write_text(json.dumps({"schema": 1, "submissions": content}))


def test_cells_are_batched(programs):
    tasks = order_of("--slurm.cells-per-task", "2").tasks
    assert tasks == [[Unit("SEED=1", 0, 5), Unit("SEED=2", 0, 5)], [Unit("SEED=3", 0, 5)]]


def test_seeds_are_split_over_tasks_that_run_side_by_side(programs):
    tasks = order_of("--slurm.seeds-per-task", "2", "--slurm.cells-per-task", "3").tasks
    assert tasks == [[Unit(f"SEED={cell}", first, n) for cell in (1, 2, 3)] for first, n in ((0, 2), (2, 2), (4, 1))]
    # Where there is nothing to train there is nothing to split.
    whole = [[Unit(f"SEED={cell}", 0, 5)] for cell in (1, 2, 3)]
    assert order_of("--slurm.seeds-per-task", "5").tasks == whole
    assert order_of("--slurm.seeds-per-task", "9").tasks == whole


def test_seeds_that_are_there_are_not_trained_again(programs, here):
    one, two, three = make_plan(command_of()).cells
    part(one, 1, 2)
    part(two, 0, 4)
    # Of another configuration.
    part(make_plan(command_of("--n-steps", "16")).cells[2], 0, 4)
    del three
    assert [unit for task in order_of().tasks for unit in task] == [
        Unit("SEED=1", 0, 1),
        Unit("SEED=2", 0, 0),
        Unit("SEED=3", 0, 5),
        Unit("SEED=1", 3, 2),
    ]


def test_what_is_queued_is_not_sent_again(programs, here):
    own = launcher._digest(make_plan(command_of()))
    tasks = [[["SEED=1", 0, 5]], [["SEED=2", 0, 2]], [["SEED=2", 2, 2]]]
    submitted(here, ("old", own, [[["SEED=3", 0, 5]]]), ("new", own, tasks))
    programs("squeue", "new|7|0|PENDING|PartitionTimeLimit\nnew|7|1|RUNNING|None\nnew|7|2|COMPLETING|None\n")
    found = order_of("--slurm.seeds-per-task", "4")
    assert set(found.queued.values()) == {"7"}
    assert found.waiting == {"PartitionTimeLimit": 1}
    assert [unit for task in found.tasks for unit in task] == [
        Unit("SEED=3", 0, 4),
        Unit("SEED=2", 2, 3),
        Unit("SEED=3", 4, 1),
    ]
    assert [(each["name"], each["job"]) for each in found.earlier] == [("new", "7")]
    assert "--name=old,new" in (here / "bin/squeue.calls").read_text()
    # A job of one task is no array.
    programs("squeue", "old|6|N/A|PENDING|(a|b)\n")
    found = order_of()
    assert {unit.cell for task in found.tasks for unit in task} == {"SEED=1", "SEED=2"}
    assert found.waiting == {"(a|b)": 1}


def test_the_queue_says_why_tasks_wait(programs, here, monkeypatch, capsys):
    own = launcher._digest(make_plan(command_of()))
    submitted(here, ("all", own, [[["SEED=1", 0, 5], ["SEED=2", 0, 5]], [["SEED=3", 0, 5]]]))
    programs("squeue", "all|7|0|PENDING|PartitionTimeLimit\nall|7|1|PENDING|PartitionTimeLimit\n")
    assert script.main([*TINY, "--out-dir", "out"]) == 0
    said = capsys.readouterr().out
    waiting = "2 tasks wait in the queue: PartitionTimeLimit"
    assert f"3 cells are still queued or running (job 7)\n{waiting}\nnothing to submit\n" in said
    # Of a longer list only what is new is sent.
    monkeypatch.setattr("test_launcher.TINY", [word.replace("1,2,3", "3,4") for word in TINY])
    assert [unit.cell for task in order_of().tasks for unit in task] == ["SEED=4"]


def test_what_killed_its_task_gets_one_of_its_own(programs, here):
    (here / "out/SEED=2").mkdir(parents=True)
    (here / "out/SEED=2/.started-0-5").touch()
    assert order_of("--slurm.cells-per-task", "3").tasks == [
        [Unit("SEED=1", 0, 5), Unit("SEED=3", 0, 5)],
        [Unit("SEED=2", 0, 5)],
    ]


def test_slurm_is_asked_before_anything_is_written(programs, refused, here):
    words = "--slurm.partition", "fast", "--slurm.gpus", "2", "--slurm.options=--qos=long --exclusive"
    programs("sbatch", error="sbatch: error: invalid partition specified: fast\nallocation failure: no\n", code=1)
    line = refused(*words)
    assert line.startswith("sbatch refuses: invalid partition specified: fast; it was asked for an array of 3 tasks")
    asked = "--partition=fast --time=60 --cpus-per-task=4 --mem=8G --gpus-per-node=2 --qos=long --exclusive"
    assert line.endswith(asked)
    assert (here / "bin/sbatch.calls").read_text() == f"--test-only --wrap=true {asked} --array=0-2\n"


@pytest.mark.parametrize("what", ["unrecognized option '--foo=3'", "option '--mem' requires an argument"])
def test_what_sbatch_says_of_an_option_is_shown(programs, refused, what):
    programs("sbatch", error=f'sbatch: {what}\nTry "sbatch --help" for more information\n', code=255)
    assert refused("--slurm.options=--foo=3").startswith(
        f"sbatch refuses: {what}; it was asked for an array of 3 tasks"
    )


def test_slurm_without_a_controller(programs, refused):
    programs("sbatch", error="sbatch: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
             "sbatch: error: fetch_config: DNS SRV lookup failed\n"
             "sbatch: fatal: Could not establish a configuration source\n", code=1)  # fmt: skip
    line = refused()
    assert line.startswith("sbatch refuses: Could not establish a configuration source; Slurm is installed here, but ")
    assert line.endswith('or set LAUNCHER = "local"')


def test_the_queue_is_seen_whatever_the_user_looks_at(programs, here, monkeypatch):
    submitted(here, ("old", "x", []))
    path = here / "bin/squeue"
    path.write_text(path.read_text().replace("echo", f"env >> {here}/bin/squeue.env\necho", 1))
    for name in ("SQUEUE_PARTITION", "SQUEUE_STATES", "SQUEUE_USERS"):
        monkeypatch.setenv(name, "other")
    programs_seen = "CLUSTER: one\n\nold|7|N/A|COMPLETING|None\nCLUSTER: two\n"
    (here / "bin/squeue.out").write_text(programs_seen)
    order_of("--slurm.options=--clusters=two,one")
    assert "SQUEUE_" not in (here / "bin/squeue.env").read_text()
    assert (here / "bin/squeue.calls").read_text().split() == [
        "--all", "--noheader", "--array", "--name=old", "--format=%j|%F|%K|%T|%r", "--clusters=one,two",
    ]  # fmt: skip


def test_what_is_sent_again_has_not_failed(programs, here, monkeypatch):
    submitit = pytest.importorskip("submitit")
    job = type("Job", (), {"job_id": "9_0"})
    monkeypatch.setattr(submitit.SlurmExecutor, "map_array", lambda self, work, tasks: [job] * len(tasks))
    (here / "out/SEED=2").mkdir(parents=True)
    (here / "out/SEED=2/error.txt").write_text("Traceback")
    order = order_of("--slurm.options=--clusters=two")
    launcher.submit(order)
    assert not (here / "out/SEED=2/error.txt").exists()
    record = json.loads((here / "out/slurm/submitted.json").read_text())
    assert record["submissions"][0]["clusters"] == "two"


@pytest.mark.parametrize("absent", ["sbatch", "squeue"])
def test_without_slurm(refused, programs, here, absent, monkeypatch):
    monkeypatch.setenv("PATH", str(here / "bin"))
    (here / "bin" / absent).unlink()
    assert f'LAUNCHER = "slurm" needs Slurm, but there is no {absent} on PATH' in refused()


def test_without_submitit(refused, programs, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "submitit" else find(name))
    assert 'LAUNCHER = "slurm" needs submitit: install it with pip install -r requirements-slurm.txt' in refused()


def test_a_queue_that_does_not_answer(refused, programs, here):
    submitted(here, ("old", "x", []))
    programs("squeue", error="slurm_load_jobs error: Unable to contact slurm controller\n", code=1)
    assert "squeue refuses: slurm_load_jobs error: Unable to contact slurm controller" in refused()


def test_a_different_sweep_in_the_queue(refused, programs, here):
    submitted(here, ("old", "another", [[["SEED=1", 0, 5]]]))
    programs("squeue", "old|6|N/A|RUNNING|None\n")
    assert "holds a different sweep, whose job 6 is still queued or running" in refused()


def test_two_that_send_at_once(refused, programs, here):
    with locks.held("out"):
        assert f"OUT_DIR 'out' is in use by process {os.getpid()} on " in refused()
    assert not (here / "bin/sbatch.calls").exists()


def test_nothing_is_run_here_while_tasks_are_at_work(refused, programs, here, monkeypatch):
    submitted(here, ("old", "another", [[["SEED=1", 0, 5]]]))
    programs("squeue", "old|6|N/A|RUNNING|None\n")
    line = refused("--launcher", "local")
    assert "OUT_DIR 'out' has tasks of job 6 queued or running: wait for them, or cancel them with scancel 6" in line
    programs("squeue", error="slurm_load_jobs error: Unable to contact slurm controller\n", code=1)
    assert "OUT_DIR 'out' was sent to Slurm, which does not say" in refused("--launcher", "local")
    # Elsewhere nobody can be asked.
    monkeypatch.setenv("PATH", str(here))
    launcher.check_idle(make_plan(command_of()))


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"schema": 1, "submissions": [{"name": "x"}]}', '{"submissions": []}', "[" * 100_000],
    ids=lambda content: content[-30:],
)
def test_a_record_that_is_none(refused, programs, here, content):
    (here / "out/slurm").mkdir(parents=True)
    (here / "out/slurm/submitted.json").write_text(content)
    assert "submitted.json' is not what a submission writes" in refused()


def test_a_folder_that_slurm_would_read_as_a_pattern(programs, refused, here, monkeypatch):
    (here / "100%").mkdir()
    monkeypatch.chdir(here / "100%")
    assert "has a %, which Slurm takes for a pattern" in refused()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--launcher", "slrum"], "choose from local, slurm; did you mean slurm?"),
        (["--sweep"], "LAUNCHER = 'slurm' sends the cells of a sweep: name one, such as SWEEP"),
        (["--slurm.cpus", "0"], "SLURM.cpus = 0 must be at least 1; the nearest valid choice is 1"),
        (["--slurm.gpus", "-1"], "SLURM.gpus = -1 must be at least 0"),
        (["--slurm.time-minutes", "1.5"], "must be a whole number; the nearest valid choice is 2"),
        (["--slurm.cells-per-task", "0"], "SLURM.cells_per_task = 0 must be at least 1"),
        (["--slurm.cell-per-task", "2"], "did you mean --slurm.cells-per-task?"),
        (["--slurm.partition", "a b"], "SLURM.partition = 'a b' must be a name as the cluster knows it, or empty"),
        (["--slurm.options=qos=long"], "SLURM.options: 'qos=long' must have the form --name=value or --name"),
        (["--slurm.options=--qos='"], 'SLURM.options = "--qos=\'" cannot be read: No closing quotation'),
        (["--slurm.options=--comment='a\nb'"], "must have the form --name=value"),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_bad_input(refused, programs, words, said):
    assert said in refused(*words)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LAUNCHER", "SLURM", "LAUNCHER 'SLURM' is unknown: choose from local, slurm; did you mean slurm?"),
        ("LAUNCHER", ["slurm"], "is unknown: choose from local, slurm"),
        ("SLURM", 3, "SLURM = 3 must be a dict of settings, such as SLURM = dict(cpus=4)"),
        ("SLURM", {"cpu": 3}, "SLURM's setting 'cpu' is unknown: choose from partition, "),
        ("SLURM", {"cpus": 2.0}, "SLURM.cpus = 2.0 must be a whole number; the nearest valid choice is 2"),
        ("SLURM", {"partition": None}, "SLURM.partition = None must be a name"),
        ("SLURM", {"options": ["--qos=long"]}, "SLURM.options = ['--qos=long'] must be text"),
    ],
    ids=str,
)
def test_an_edited_line_that_cannot_be_run(refused, programs, monkeypatch, name, value, said):
    monkeypatch.setattr(script, name, value)
    monkeypatch.setattr("test_launcher.TINY", TINY[:-2])
    assert said in refused()


def test_where_runs_take_place_is_no_part_of_them():
    plans = [make_plan(command_of(*words)) for words in ([], ["--slurm.cpus", "9"], ["--launcher", "local"])]
    assert plans[0] == plans[1] == plans[2]


@pytest.mark.parametrize("strict", [False, True])
def test_a_task_fails_for_a_family_that_has_lost_all_seeds_only_if_strict(here, monkeypatch, capfd, strict):
    report = {"models": {"VAE": {"diverged_at_step": [None]}, "RBM": {"diverged_at_step": [3]}}}
    monkeypatch.setattr(cell_runs, "attempt", lambda *args, **more: cell_runs.Outcome(report, None))
    monkeypatch.setattr(cell_runs, "line_of", lambda *args: "done")
    constants = {name: value for name, value in vars(script).items() if name.isupper()}
    args = [*TINY, "--out-dir", "out", *["--strict"] * strict]
    task = {"constants": constants, "args": args, "cwd": str(here), "units": [("SEED=1", 0, 1)]}
    if strict:
        with pytest.raises(RuntimeError, match="all seeds diverged: RBM in SEED=1"):
            launcher.work(task)
    else:
        launcher.work(task)
    warning = "warning: cell SEED=1: RBM: its only seed has diverged (seed 0 at step 3)\n"
    assert capfd.readouterr().err == warning


def test_the_last_task_merges_what_another_finished_meanwhile(here, monkeypatch):
    """Two tasks end together: the one that saw fewer cells would be the last to write."""
    finished, seen = {"SEED=1", "SEED=2"}, []

    def merge(plan):
        n_missing = sum(cell.name not in finished for cell in plan.cells)
        seen.append(n_missing)
        finished.add("SEED=3")
        return sweep_merge.Merged([], ["SEED"] * n_missing, None)

    monkeypatch.setattr(cell_runs, "is_finished", lambda cell: cell.name in finished)
    monkeypatch.setattr(cell_runs, "merge", merge)
    constants = {name: value for name, value in vars(script).items() if name.isupper()}
    task = {"constants": constants, "args": [*TINY, "--out-dir", "out"], "cwd": str(here), "units": []}
    # The third is at work elsewhere: it will merge.
    launcher.work(task)
    assert seen == []
    (here / "out/SEED=3").mkdir(parents=True)
    (here / "out/SEED=3/error.txt").write_text("Traceback")
    launcher.work(task)
    assert seen == [1, 0]


def test_no_line_of_a_batch_script_is_written_by_a_folder_s_name(programs, refusal):
    for name in ("a\ntouch b", "a\x85b", "a\x1b[31m"):
        line = refusal(*TINY, "--out-dir", name)
        assert line.endswith("has letters that a batch script cannot hold: name another")
