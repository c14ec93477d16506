"""The shipped recipes are what `huetrack train` takes, and the paper's is the paper's."""

from pathlib import Path

import pytest
import yaml

from jobs import cli
from jobs.probe_options import ProbeConfig
from model.colorizer import ColorizerConfig
from model.fitter import FitConfig, learning_rate_at
from model.objectives.colorization import ColorizationConfig
from pipelines.clip_rows import BatchConfig
from tests.conftest import REPOSITORY

RECIPES = sorted((REPOSITORY / "configs").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_key_of_a_recipe_is_a_setting_and_has_effect(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(tmp_path), "--run", str(tmp_path / "run"), "--print-config"]
    assert cli.run([*arguments, "--config", str(recipe)]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    for section, settings in yaml.safe_load(recipe.read_text(encoding="utf-8")).items():
        for key, value in settings.items():
            shown = printed[section][key]
            if isinstance(value, dict):
                assert {name: shown[name] for name in value} == value
            else:
                assert shown == value


def settings_of(recipe: Path | None) -> tuple[FitConfig, BatchConfig, ProbeConfig]:
    """Those of a recipe, and the defaults for None."""
    settings = {} if recipe is None else yaml.safe_load(recipe.read_text(encoding="utf-8"))
    batches = settings.get("batches", {})
    batches = {key: value for key, value in batches.items() if key != "augment"}
    fit = FitConfig(**settings.get("fit", {}))
    return fit, BatchConfig(**batches), ProbeConfig(**settings.get("probe", {}))


with_defaults = pytest.mark.parametrize(
    "recipe", [None, *RECIPES], ids=lambda path: path.stem if path else "none"
)


@with_defaults
def test_a_restart_repeats_a_virtual_epoch_at_most(recipe: Path | None) -> None:
    fit, batches, _ = settings_of(recipe)
    interrupted_while_storing = 2 * fit.checkpoint_every
    assert interrupted_while_storing <= batches.batches_per_epoch


@with_defaults
def test_what_is_validated_is_saved_and_a_look_needs_no_validation_of_its_own(
    recipe: Path | None,
) -> None:
    """Else the best weights are not kept, or `validate_every` means nothing."""
    fit, _, probe = settings_of(recipe)
    assert fit.validate_every % fit.checkpoint_every == 0
    assert probe.every % fit.validate_every == 0


def test_the_recipe_of_kinetics_is_the_papers_and_so_are_the_defaults() -> None:
    """Vondrick et al. 2018, section 4."""
    recipe = yaml.safe_load((REPOSITORY / "configs" / "kinetics400.yaml").read_text())
    assert ColorizerConfig(**recipe["model"]) == ColorizerConfig()
    assert ColorizationConfig(**recipe["colorization"]) == ColorizationConfig()
    assert BatchConfig(**recipe["batches"] | {"clips_per_epoch": 16_384}) == BatchConfig()
    fit = FitConfig(**recipe["fit"])
    assert fit.steps == FitConfig().steps == 400_000
    for step in (0, 59_999, 60_000, 399_999):
        assert learning_rate_at(step, fit) == learning_rate_at(step, FitConfig())
    assert [learning_rate_at(step, fit) for step in (59_999, 60_000)] == pytest.approx([1e-3, 1e-4])
