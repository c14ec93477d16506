"""The command line `huetrack`: command names, configuration files, exit codes.

Commands are loaded when they are called, so that `--help` is quick. Each takes one dataclass of
options and returns its exit status: 0, or 1 when too many items failed. Bad usage is one line and 2.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError
from cyclopts.config import Yaml
from yaml import YAMLError, safe_load

from jobs.cluster import SEALED
from jobs.options import to_yaml
from jobs.termination import Terminated
from model.errors import UserError
from pipelines.s3 import StorageError

EPILOGUE = (
    "Every command also takes --config FILE.yaml (the same keys as its flags) and --print-config."
)
COMMANDS = (
    ("preprocess", "jobs.preprocess:preprocess_command", "Make a training set from videos."),
    ("validate", "jobs.preprocess:validate_command", "Check every promise about a dataset."),
    ("inspect", "jobs.inspect:inspect_command", "Write a page about a dataset."),
    (
        "train",
        "jobs.train_command:train_command",
        "Train the colouriser on a dataset, with no labels.",
    ),
    ("curves", "jobs.curves:curves_command", "Draw how trainings got on."),
    ("mix", "jobs.mix:mix_command", "Learn how much features and colours count together."),
    ("temperature", "jobs.temperature:temperature_command", "Learn how sharply a run matches."),
    ("export", "jobs.export:export_command", "Write what a run learned as one file."),
    ("propagate", "jobs.propagate_command:propagate_command", "Carry labels through videos."),
    ("colorize", "jobs.colorize:colorize_command", "Recolour a video from its first frame."),
    ("embed", "jobs.embed:embed_command", "Show a video's embeddings as colours."),
    ("report", "jobs.report:report_command", "Write the gallery to review labels in."),
    ("submit", "jobs.submit:submit_command", "Run any of these as a job on a Ray cluster."),
    ("doctor", "jobs.doctor:doctor_command", "Check what this machine can do, with remedies."),
    ("demo", "jobs.demo:demo_command", "All of it on small videos, in minutes."),
)
EVALUATIONS = (
    ("masks", "J and F as on DAVIS."),
    ("keypoints", "PCK as on J-HMDB."),
    ("parts", "Mean IoU as on VIP."),
    ("boxes", "Success and precision as on OTB."),
    ("points", "Jaccard and position accuracy as on TAP-Vid."),
)
CONFIDENCES = (("fit", "Fit it on propagations whose truth is known."),)
REVIEWS = (("export", "Write the frames that most need a person."),)
JOBS = (
    ("list", "Jobs of a cluster."),
    ("follow", "Show a job's log until it ends."),
    ("stop", "Stop a job."),
)
GROUPS = (
    ("evaluate", "Score predictions with the field's metrics.", EVALUATIONS),
    ("confidence", "Make a confidence model from annotated videos.", CONFIDENCES),
    ("review", "Put right what a propagation got wrong.", REVIEWS),
    ("jobs", "Look after jobs that `huetrack submit` started.", JOBS),
)
"""Commands of commands: `huetrack evaluate masks`."""


_ENVIRONMENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
"""What a user can put right: disks that are full, and places that may not be written."""


def build_app(called: str | None = None, kind_called: str | None = None) -> App:
    """All commands by name; the one that is called shows its own docstring as help."""
    app = App(
        name="huetrack",
        version=version("huetrack"),
        help="Learn to track from unlabelled video by colourising it, then carry labels through video.",
        help_epilogue=EPILOGUE,
        help_format="plaintext",
    )
    for name, target, summary in COMMANDS:
        app.command(target, name=name, help=None if name == called else summary)
    for group, about, members in GROUPS:
        commands = App(name=group, help=about)
        for kind, summary in members:
            target = f"jobs.{group}:{group}_{kind}_command"
            commands.command(target, name=kind, help=None if kind == kind_called else summary)
        app.command(commands)
    return app


@dataclass(frozen=True)
class ParsedCommand:
    """A command line that is understood, and not run yet."""

    call: Callable[[], Any]
    options: tuple[Any, ...]
    """The dataclasses of options."""
    config_file: Path | None
    """What --config named."""
    prints_config: bool


def parse(arguments: Sequence[str], *, runs_here: bool = True) -> ParsedCommand:
    """Understand a command line. Raises `CycloptsError` and `UserError`, and prints help where asked to.

    Where it `runs_here`, a training that is resumed gets the settings of its run. What follows `--` belongs
    to the command (that of `huetrack submit` is a command line itself).
    """
    app = build_app(*arguments[:2])
    _refuse_unknown_command(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = list(arguments[:end]), list(arguments[end:])
    own, config_text = _take_value(own, "--config")
    sources: list[Callable[..., object]] = []
    config_file = Path(config_text) if config_text is not None else None
    if config_file is not None:
        _refuse_unreadable_config(config_file)
        sources.append(
            Yaml(config_file, must_exist=True, use_commands_as_keys=False, allow_unknown=False)
        )
    if arguments[:1] == ["train"] and runs_here:
        from jobs.train_resume import (
            settings_of_the_run,  # it loads what the other commands need not
        )

        sources.append(settings_of_the_run)
    app.config = tuple(sources)
    asked = [argument for argument in own if argument != "--print-config"] + rest
    command, bound, _ = app.parse_args(asked, exit_on_error=False, print_error=False)
    call = partial(command, *bound.args, **bound.kwargs)
    return ParsedCommand(
        call, tuple(bound.arguments.values()), config_file, "--print-config" in own
    )


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    try:
        _open_what_travelled()
        parsed = parse(arguments)
        if parsed.prints_config:
            print("".join(map(to_yaml, parsed.options)), end="")
            return 0
        status: Any = parsed.call()
        return status if isinstance(status, int) else 0
    except (CycloptsError, UserError, StorageError) as error:
        print(f"huetrack: {_one_line(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _ENVIRONMENT:
            raise
        print(f"huetrack: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        how = "terminated" if terminated else "interrupted"
        print(f"huetrack: {how}; run the same command again to go on", file=sys.stderr)
        return 128 + (signal.SIGTERM if terminated else signal.SIGINT)


def main() -> None:
    """Entry point of the command `huetrack`."""
    sys.exit(run(sys.argv[1:]))


def _open_what_travelled() -> None:
    """Variables that came with this job, before anything asks for them. Ray's hook comes with `ray.init`."""
    if os.environ.get(SEALED):
        from jobs.job_environment import unseal  # cryptography, which few commands need

        unseal()


def _refuse_unknown_command(arguments: Sequence[str]) -> None:
    names = [name for name, _, _ in (*COMMANDS, *GROUPS)]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in names:
        raise UserError(f"{arguments[0]}: no such command (there are {', '.join(sorted(names))})")


def _refuse_unreadable_config(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such configuration file")
    try:
        record = safe_load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML ({error})") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: not a mapping of options to values")


def _take_value(arguments: list[str], flag: str) -> tuple[list[str], str | None]:
    """Remove `flag VALUE` or `flag=VALUE` from the arguments."""
    for i, argument in enumerate(arguments):
        if argument == flag:
            if i + 1 == len(arguments):
                raise UserError(f"{flag} needs a file")
            return arguments[:i] + arguments[i + 2 :], arguments[i + 1]
        if argument.startswith(f"{flag}="):
            return arguments[:i] + arguments[i + 1 :], argument.removeprefix(f"{flag}=")
    return arguments, None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
