"""The lecture's commands can be run as they stand, and each makes the picture that it is there for."""

import re
import shlex

import pytest

import generative_models_GAN_VAE_RBM_benchmarks as script
from benchmark.asked.command_line import read
from benchmark.pictures import pictures
from benchmark.run import checks
from benchmark.sweeps import sweep_pictures
from benchmark.sweeps.sweep_plan import make_plan
from core import places
from kinds.registry import kind_of

PAGE = (places.ROOT / "docs" / "lecture.md").read_text(encoding="utf-8")
# A command may go over several lines; behind it stands what to look at.
LESSONS = re.findall(r"^```bash\nrun (.*?)  # (\S+)\n```$", PAGE, re.MULTILINE | re.DOTALL)


def test_there_are_twelve_lessons_each_with_its_time():
    assert len(LESSONS) == len(re.findall(r"^\*\*\d+\. .*\*\* \(\d+ s\)$", PAGE, re.MULTILINE)) == 12
    folders = [re.search(r"--out-dir (\S+)$", command)[1] for command, _ in LESSONS]
    assert folders == [f"results_lecture/{number:02d}" for number in range(1, 13)]


@pytest.mark.parametrize(("command", "picture"), LESSONS, ids=[picture for _, picture in LESSONS])
def test_a_command_makes_its_picture(command, picture):
    asked = read(vars(script), shlex.split(command.replace("\\\n", "")), "")
    if asked.sweep:
        plan = make_plan(asked)
        assert sweep_pictures.is_drawn(picture)
        settings = [name for name, values in plan.swept.items() if len(values) > 1]
        views = [f"{family}.{view.setting}" for family, name, view in sweep_pictures._VIEWS if name == picture]
        own = [name for name in settings if picture in (f"sweep_{name}.png", f"sweep_{name}_pictures.png")]
        assert own or {*views} & {*settings}
        assert plan.pictures
        config = plan.cells[0].config
    else:
        config = asked.config
    job = checks.check(config)
    kind = kind_of(job.target)
    own = {f"{name}.png" for model in job.models for name, view in model.views.items() if view.kind in kind.views}
    if not asked.sweep:
        assert picture in own | {pictures.DASHBOARD, pictures.HISTOGRAM, pictures.TIMELINE_GIF}
