"""How studies write down what they have measured: the numbers as JSON, and beside them the tables as Markdown."""

import json
from pathlib import Path
from typing import Any


def write(file: Path, results: Any, tables: str) -> None:
    """Writes both, so that a study that is killed has what it had measured by then.

    Args:
      file: ends in .json; the tables stand beside it and end in .md.
      results: what JSON can hold.
      tables: Markdown.
    """
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(tables + "\n", encoding="utf-8")
