"""`--label-selector`: what it takes."""

from pathlib import Path

import pytest

from jobs.cli import run
from jobs.placement import label_selector, tell_if_nowhere
from model.errors import UserError


def test_selectors() -> None:
    texts = ["huetrack/group=decode", "ray.io/market-type=!spot", "zone=in(a, b)"]
    assert label_selector(texts) == {
        "huetrack/group": "decode",
        "ray.io/market-type": "!spot",
        "zone": "in(a, b)",
    }
    for text in ("decode", "group=no good", "=x"):
        with pytest.raises(UserError, match="--label-selector"):
            label_selector([text])


def test_without_a_cluster_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    arguments = ["preprocess", str(tmp_path), "--out", str(tmp_path / "set")]
    assert run([*arguments, "--label-selector", "huetrack/group=decode"]) == 2
    assert "nodes of a cluster" in capsys.readouterr().err


def test_a_label_that_no_node_has_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [{"Alive": True, "Labels": {"a": "1"}}, {"Alive": False, "Labels": {"a": "2"}}]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    tell_if_nowhere({"a": "1"})
    tell_if_nowhere({"a": "!1"})
    assert capsys.readouterr().err == ""
    tell_if_nowhere({"a": "2"})
    assert "no node is labelled a=2" in capsys.readouterr().err
