import json
import subprocess
from pathlib import Path

from models import drawing
from studies import bits


def test_it_runs_what_is_missing_and_writes_what_it_found(tmp_path, monkeypatch):
    asked = []

    def run(command, **options):
        folder = Path(command[command.index("--out-dir") + 1])
        asked.append(command[command.index("--target-type") + 1])
        for budget in bits.BUDGETS:
            place = folder / f"PARAMETER_BUDGET={budget}"
            place.mkdir(parents=True)
            score = {"median": 0.25 / budget, "low": 1e-7, "high": None, "seeds": [1e-7, None]}
            model = {"n_params": budget, "final": {"kl_exact": score, "tv_exact": score}}
            rivals = {"UNIFORM": 0.5, "PRODUCT": 0.25, "CHOW_LIU": 0.0}
            rivals = {name: {"kl_exact": value, "n_params": 1} for name, value in rivals.items()}
            target = {"entropy": 1.0, "rivals": rivals}
            report = {"models": {"RBM": model, "GAN": model | {"final": {"kl_exact": None, "tv_exact": None}}}}
            (place / "metrics.json").write_text(json.dumps(report | {"target": target}))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(bits, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(bits, "OUTPUT", tmp_path / "bits")
    monkeypatch.setattr("sys.argv", ["bits"])
    # The second one lacks families that the table has come to have.
    old = {
        "rivals": dict.fromkeys(("UNIFORM", "PRODUCT", "CHOW_LIU"), 0.5),
        "rows": {"100": {"GAN": {"kl_exact": None}}},
    }
    cases = {"log-normal, 3 bits": {"rivals": {}, "rows": {}}, "cardinality 6 of 12": old}
    (tmp_path / "bits.json").write_text(json.dumps({"cases": cases}))
    bits.main()
    assert asked == ["BITS_BARS_STRIPES", "BITS_CARDINALITY", "BITS_GAUSSIAN", "BITS_ISING"]
    table = (tmp_path / "bits.md").read_text().splitlines()
    assert len(table) == 2 + 4 * len(bits.BUDGETS)
    row = [cell.strip() for cell in table[2].strip("|").split("|")]
    assert row[:3] == ["bars and stripes 4 × 4", "100", "unknown"]
    assert "0.0025 (1.0e-07 – diverged)" in row
    assert row[-3:] == ["0.5000", "0.2500", "0.0000"]
    assert not any((tmp_path / "runs").iterdir())


def test_its_families_can_draw_bits():
    assert set(bits.FAMILIES) <= set(drawing("bits"))
