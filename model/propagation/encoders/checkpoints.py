"""Files of weights that others wrote: read without running anything in them, keys brought to one form."""

import argparse
import pickle
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from model.errors import UserError

WRAPPERS = ("state_dict", "model", "teacher")
"""Under which names training scripts put the weights beside other things; of DINO's two networks the
teacher is the one that is evaluated."""
_NAMED_KEYS = 4


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` file, or of one that `torch.save` wrote, by name.

    `torch.load` reads with `weights_only`, so a file cannot run code. Raises UserError naming a file
    that is missing, that cannot be read so, or that holds no tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    try:
        if _is_safetensors(path):
            return load_file(path)
        # Old training scripts store their arguments beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"{path}: not weights that can be read safely ({reason})") from error
    while isinstance(content, Mapping) and (inner := _wrapped(content)) is not None:
        content = inner
    tensors = dict(content) if isinstance(content, Mapping) else {}
    tensors = {str(key): value for key, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path}: holds no weights")
    return tensors


def _is_safetensors(path: Path) -> bool:
    """Told by the content, since a copy of an object has no suffix: eight bytes of length, then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and not head.startswith((b"PK", b"\x80"))


def _wrapped(content: Mapping[str, object]) -> Mapping[str, object] | None:
    inner = (content.get(name) for name in WRAPPERS)
    return next((value for value in inner if isinstance(value, Mapping)), None)


def without_prefix(
    tensors: Mapping[str, Tensor],
    anchor: str,
    path: Path,
    rename: Callable[[str], str] = lambda key: key,
) -> dict[str, Tensor]:
    """The tensors of one network under its own names: those below the prefix of `anchor`, one of its keys.

    Checkpoints of whole training set-ups have a prefix (`encoder.`, `backbone.`, `module.`) before the
    network and other things (heads) beside it, which are left out. `rename` is applied first. Without
    `anchor` all tensors come back as they are. Raises UserError where two networks fit as well.
    """
    renamed = {rename(key): value for key, value in tensors.items()}
    found = {key.removesuffix(anchor) for key in renamed if key.endswith(anchor)}
    prefixes = sorted((p for p in found if not p or p.endswith(".")), key=len)
    if not prefixes:
        return renamed
    rivals = [p for p in prefixes if len(p) == len(prefixes[0])]
    if len(rivals) > 1:
        names = ", ".join(sorted(rivals))
        raise UserError(f"{path}: holds several networks ({names}); write out the one to use")
    prefix = prefixes[0]
    return {
        key.removeprefix(prefix): value for key, value in renamed.items() if key.startswith(prefix)
    }


def load_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], path: Path, unused: Collection[str] = ()
) -> None:
    """Copy tensors into a network; those whose names begin with one of `unused` are left out.

    Raises UserError naming the file, and the weights that are missing, unknown or of another shape.
    """
    expected = network.state_dict()
    given = {k: v for k, v in tensors.items() if not k.startswith(tuple(unused))}
    counters = {key for key in expected if key.endswith("num_batches_tracked")}  # in no old file
    problems = [
        _listed("missing", [k for k in expected if k not in given and k not in counters]),
        _listed("unknown", [k for k in given if k not in expected]),
        _listed(
            "of another shape",
            [k for k, v in given.items() if k in expected and v.shape != expected[k].shape],
        ),
    ]
    if any(problems):
        raise UserError(f"{path}: does not fit this model; " + "; ".join(filter(None, problems)))
    network.load_state_dict(dict(given), strict=False)


def _listed(problem: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _NAMED_KEYS} more" if len(keys) > _NAMED_KEYS else ""
    return f"{problem}: {', '.join(keys[:_NAMED_KEYS])}{more}"
