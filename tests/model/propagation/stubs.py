"""Encoders whose features are known, in place of a trained network."""

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

STRIDE = 8


class ColourCodes:
    """The colour at the centre of a cell as a code: equal colours match, others hardly do.

    Random Fourier features of a narrow kernel stand in for a trained network.
    """

    stride_px = STRIDE

    def __init__(self, temperature: float) -> None:
        generator = torch.Generator().manual_seed(0)
        self._frequencies = torch.randn(128, 3, generator=generator) * 20
        self._temperature = temperature
        self.encoded: list[weakref.ref[Tensor]] = []
        self.batches: list[int] = []
        self.reference_counts: list[int] = []

    def encode(self, frame_3HW: Tensor) -> Tensor:
        assert frame_3HW.dtype == torch.uint8
        self.batches.append(1 if frame_3HW.ndim == 3 else len(frame_3HW))
        centres = frame_3HW[..., STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].float() / 255
        phase = torch.einsum("fc,...chw->...fhw", self._frequencies, centres)
        features = torch.cat([phase.cos(), phase.sin()], dim=-3)
        features = torch.nn.functional.normalize(features, dim=-3)
        self.encoded.append(weakref.ref(features))
        return features

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        self.reference_counts.append(len(references))
        return list(references), target / self._temperature

    @property
    def alive(self) -> int:
        return sum(reference() is not None for reference in self.encoded)


class FrameNumbers:
    """One feature per frame, its grey level, and a record of what was matched with what."""

    stride_px = STRIDE

    def __init__(self) -> None:
        self.matched: list[tuple[list[int], int]] = []

    def encode(self, frame_3HW: Tensor) -> Tensor:
        return frame_3HW[:1, ::STRIDE, ::STRIDE].float()

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        numbers = [int(reference[0, 0, 0]) for reference in references]
        self.matched.append((numbers, int(target[0, 0, 0])))
        return list(references), target
