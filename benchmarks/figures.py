"""How a benchmark ends: a table for people and, where asked for, a JSON file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def show(title: str, figures: Mapping[str, Any], json_file: Path | None) -> None:
    """Print the figures, of lists only their length, of tuples all numbers, and write all to `json_file`."""
    table = Table(title=title, show_header=False)
    for name, value in figures.items():
        if isinstance(value, float | tuple):
            numbers = value if isinstance(value, tuple) else (value,)
            table.add_row(name, ", ".join(f"{number:.4g}" for number in numbers))
        else:
            table.add_row(name, str(len(value) if isinstance(value, list) else value))
    Console().print(table)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
