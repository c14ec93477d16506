"""The command line itself: names, configuration files, exit codes."""

from pathlib import Path

import pytest

from jobs.cli import COMMANDS, run


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error; nothing may be on standard output."""
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("huetrack: ")
    assert printed.out == ""
    return line.removeprefix("huetrack: ")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name, _, _ in COMMANDS)
    assert "--config FILE.yaml" in text


def test_the_help_of_a_command_shows_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["preprocess", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--decode.fps-hz" in text
    assert "errors.parquet" in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["preproces"], "preproces"),
        (["validate", "x", "--fast"], "--fast"),
        (["validate"], "--dataset"),
        (["validate", "--config"], "--config"),
        (["validate", "--config", "none.yaml"], "none.yaml"),
    ],
)
def test_bad_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], named: str) -> None:
    assert run(arguments) == 2
    assert named in error_line(capsys)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"dataset: x\nspeed: 3\n", "speed"),
        (b"dataset: [unclosed\n", "config.yaml"),
        (b"- a\n- list\n", "config.yaml"),
        (b"dataset: \xff\xfe\n", "config.yaml"),
    ],
)
def test_bad_configuration_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, named: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    assert run(["validate", "--config", str(path)]) == 2
    assert named in error_line(capsys)
