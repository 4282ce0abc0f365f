"""Nothing that is configured or read is ever run: what would do so does not occur in the program."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT, *(path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."))
    for path in (folder.glob("*.py") if folder == ROOT else folder.rglob("*.py"))
    if folder.name != "tests"
)
RUNNERS = {"eval", "exec", "compile", "__import__", "execfile", "input"}
UNPICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml", "runpy"}
SHELLS = {"system", "popen", "getoutput", "getstatusoutput"}


def offences(source):
    """What in a module could run text or unpickle a file: line and what it is."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [(node.module or "").split(".")[0]]
        found += [(node.lineno, name) for name in names if name in UNPICKLERS]
        if isinstance(node, ast.Name) and node.id in RUNNERS:
            found.append((node.lineno, node.id))
        # Of other objects such methods are harmless: a pattern and a traced function are compiled.
        if isinstance(node, ast.Attribute) and (
            (node.attr in SHELLS and ast.unparse(node.value) != "platform")
            or (isinstance(node.value, ast.Name) and node.value.id == "builtins")
        ):
            found.append((node.lineno, node.attr))
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell"):
            allowed = isinstance(node.value, ast.Constant) and node.value.value is False
            found += [] if allowed else [(node.value.lineno, node.arg)]
    return found


@pytest.mark.parametrize(
    "source",
    ["eval(text)", "run = exec", "import pickle", "from yaml import load", "np.load(path, allow_pickle=True)",
     "np.load(path, allow_pickle=trusted)", "subprocess.run(words, shell=True)", "os.system(words)",
     "builtins.eval(text)", "__import__(name)", "import joblib.numpy_pickle"],
)  # fmt: skip
def test_the_search_finds_what_it_is_for(source):
    assert offences(source)


def test_the_search_covers_the_program():
    assert {
        "benchmark/run/one_run.py",
        "kinds/real/tables.py",
        "models/gan.py",
        "studies/speed/compare.py",
        "studies/quality.py",
    } <= set(FILES)


# What the front doors may import of ours: single modules, which the linter of imports takes for somebody else's.
BELOW = {
    "budget": {"core"},
    "metrics": set(),
    "targets": {"kinds", "core"},
    "plotting": {"core", "metrics"},
    "generative_models_GAN_VAE_RBM_benchmarks": {"benchmark", "core"},
}
OURS = {*BELOW, *(path.parent.name for path in ROOT.glob("*/__init__.py"))}


@pytest.mark.parametrize("door", BELOW)
def test_front_doors_import_what_is_below_them(door):
    tree = ast.parse((ROOT / f"{door}.py").read_text(encoding="utf-8"))
    imports = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imports += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in imports} & OURS <= BELOW[door]


def test_every_module_in_the_root_is_a_front_door():
    assert {path.stem for path in ROOT.glob("*.py")} == set(BELOW)


@pytest.mark.parametrize("name", FILES)
def test_no_module_runs_or_unpickles_what_it_reads(name):
    assert offences((ROOT / name).read_text(encoding="utf-8")) == []


# Lines without the docstring, and those of functions inside counted as the function's own: a screen has so many.
SCREEN = 60


def functions(tree, prefix=""):
    """Every function with its name from the module on, and how many lines it has without its docstring."""
    for node in ast.iter_child_nodes(tree):
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        name = f"{prefix}{node.name}" if named else prefix.rstrip(".")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            said = ast.get_docstring(node) is not None
            yield name, node.end_lineno - node.lineno + 1 - said * (first.end_lineno - first.lineno + 1)
        yield from functions(node, f"{name}." if name else "")


@pytest.mark.parametrize("name", FILES)
def test_no_function_is_longer_than_a_screen(name):
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    assert {function: n_lines for function, n_lines in functions(tree) if n_lines > SCREEN} == {}


def test_a_docstring_is_no_part_of_a_functions_length():
    inner = "        def g():\n            return 1\n\n        return g\n"
    text = f'class A:\n    def f(self):\n        """One.\n\n        Two.\n        """\n{inner}'
    assert dict(functions(ast.parse(text))) == {"A.f": 5, "A.f.g": 2}
