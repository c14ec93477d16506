"""What a run that is resumed keeps: the settings that it was begun with, where no others are given."""

from collections.abc import Sequence
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from jobs.options import flat, plain
from jobs.train_options import TrainOptions
from model.errors import UserError
from pipelines.codebook import load_codebook
from pipelines.run_folder import CODEBOOK_FILE, CONFIG_FILE, read_codebook, read_config
from pipelines.storage import location

FIXED = ("model", "colorization", "batches", "seed", "init")
"""Settings that a run keeps whatever is given: with others it would be another run."""
KEPT = (*FIXED, "fit")
"""Those that it keeps when none are given; of how it is optimised, others may be."""


def settings_of_the_run(app: App, commands: Sequence[str], arguments: ArgumentCollection) -> None:
    """A source of settings for cyclopts, the last one: with `--resume`, those of the run.

    So a default that has changed since the run was begun does not change the run. Raises `UserError`
    for a damaged `config.yaml`.
    """
    run, resume = arguments["--run"], arguments["--resume"]
    if not run.tokens or not resume.tokens or not resume.convert():
        return
    folder = location(run.tokens[0].value)
    if not (folder / CONFIG_FILE).is_file():
        return
    stored = Dict(
        _kept(read_config(folder)),
        source=str(folder / CONFIG_FILE),
        use_commands_as_keys=False,
        allow_unknown=True,  # `check_same` tells which those are
    )
    stored(app, tuple(commands), arguments)


def check_same(options: TrainOptions) -> None:
    """Raises `UserError`, which names the flags, for a run with other settings or of other colours."""
    untold = _kept(plain(TrainOptions(options.dataset, run=options.run)))
    before = flat(untold) | flat(_kept(read_config(options.run)))
    now = flat(_kept(plain(options)))
    changed = [
        _told(key, now.get(key), before.get(key))
        for key in dict.fromkeys([*now, *before])
        if key.partition(".")[0] in FIXED and now.get(key) != before.get(key)
    ]
    if changed:
        raise UserError(
            f"{options.run / CONFIG_FILE}: the run to resume has other settings: {', '.join(changed)}"
        )
    if not (options.run / CODEBOOK_FILE).exists():
        return  # killed while the folder was made
    own, given = read_codebook(options.run), load_codebook(options.dataset / CODEBOOK_FILE)
    if own.fingerprint != given.fingerprint:
        raise UserError(
            f"{options.run}: the run to resume was trained with codebook {own.fingerprint}, "
            f"{options.dataset} has {given.fingerprint}"
        )


def _kept(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in KEPT if key in record}


def _told(key: str, now: Any, before: Any) -> str:
    flag = "--" + key.replace("_", "-")
    given = f"no {flag}" if now is None else f"{flag} {now}"
    return f"{given} (the run has {'none' if before is None else before})"
