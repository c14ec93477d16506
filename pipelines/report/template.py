"""Templates of this folder -> pages, each one file that loads nothing from elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from pipelines.storage import Location, write_text


@dataclass(frozen=True)
class KeyNumber:
    """A large number at the top of a page, with what it is and what to hold it against."""

    value: str
    label: str
    note: str


def write_page(template: str, path: Location, **values: Any) -> None:
    """Render a template, every value escaped, and write it whole or not at all.

    Missing folders are made. Raises `OSError` when the page cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("pipelines.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(**values)
    # A file name that is not UTF-8 reaches Python as lone surrogates, which UTF-8 cannot hold.
    write_text(path, html.encode("utf-8", "backslashreplace").decode("utf-8"))


def yaml_text(config: Mapping[str, Any]) -> str:
    """A configuration as YAML for people; empty when there is none."""
    if not config:
        return ""
    return yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=100)


def _plain(value: Any) -> Any:
    """The value in the types that YAML has; anything else as its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
