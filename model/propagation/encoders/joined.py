"""Two encoders as one, and in which proportion colours join learned features."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.encoders.lab import LAB_VARIANCE, LabEncoder
from model.propagation.frame_encoder import Encoder


@dataclass(frozen=True)
class Mix:
    """How much learned features and Lab colours count against each other.

    logit = <f_i, f_j> / (temperature_scale * T) - |Lab_i - Lab_j|^2 / (2 * lab_variance), with the
    protocol's temperature T. Raises UserError for a value that is not a positive number.
    """

    temperature_scale: float = 1.0
    """Factor of the protocol's temperature; above 1 the features count less."""
    lab_variance: float = LAB_VARIANCE
    """Squared Lab units; the larger, the less the colours count."""

    def __post_init__(self) -> None:
        for name in ("temperature_scale", "lab_variance"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise UserError(f"{name} is {value!r}, not a positive number")


class JoinedEncoder:
    """Two encoders together: the logit is the sum of theirs, the first one's over a scale."""

    def __init__(
        self,
        first: Encoder,
        first_channels: int,
        second: Encoder,
        *,
        first_temperature_scale: float = 1.0,
    ) -> None:
        """Raises ValueError for encoders of different strides."""
        if first.stride_px != second.stride_px:
            raise ValueError(f"strides of {first.stride_px} and {second.stride_px} px do not join")
        self.stride_px = first.stride_px
        self._first = first
        self._second = second
        self._first_channels = first_channels
        self._first_temperature_scale = first_temperature_scale

    def encode(self, frame_3HW: Tensor) -> Tensor:
        first = self._first.encode(frame_3HW)
        if first.shape[-3] != self._first_channels:
            raise ValueError(f"expected {self._first_channels} channels, got {first.shape[-3]}")
        return torch.cat((first, self._second.encode(frame_3HW)), dim=-3)

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        n = self._first_channels
        first_keys, first_query = self._first.match([r[:n] for r in references], target[:n])
        second_keys, second_query = self._second.match([r[n:] for r in references], target[n:])
        keys = [torch.cat(pair) for pair in zip(first_keys, second_keys, strict=True)]
        return keys, torch.cat((first_query / self._first_temperature_scale, second_query))


def join_lab(encoder: Encoder, channels: int, mix: Mix) -> JoinedEncoder:
    """An encoder of learned features, whose base features have so many channels, with Lab colours."""
    lab = LabEncoder(encoder.stride_px, mix.lab_variance)
    return JoinedEncoder(encoder, channels, lab, first_temperature_scale=mix.temperature_scale)
