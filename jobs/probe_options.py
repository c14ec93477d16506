"""Options of the looks at a training."""

from dataclasses import dataclass, replace

from jobs.options import LocationOption
from model.errors import UserError
from model.propagation.protocols import ProtocolName


@dataclass(frozen=True)
class ProbeConfig:
    """Looks at a training while it goes on."""

    every: int = 1000
    """Steps between two looks, each at the first checkpoint from there on; the last step gets one too.
    0: none."""
    clips: int = 4
    """Held-out clips that are recoloured."""
    sequences: LocationOption | None = None
    """Folder of annotated videos (VIDEO/frames/*.jpg and VIDEO/masks/*.png, or DAVIS's) that are labelled
    and scored; a few are enough."""
    protocol: ProtocolName = "crw"
    """How their labels are carried."""
    threads: int = 1
    """CPU threads of a look; they take what training leaves."""

    def __post_init__(self) -> None:
        if self.every < 0 or self.clips < 0 or self.threads < 1:
            raise UserError("probe.every and probe.clips must be at least 0, probe.threads 1")

    def resolved(self) -> "ProbeConfig":
        """The same for a process in another folder: with an absolute path."""
        folder = self.sequences
        return self if folder is None else replace(self, sequences=folder.resolve())

    def is_due(self, before: int, step: int, *, last: bool) -> bool:
        """Whether the checkpoint of `step` is looked at, `before` being where the training was when it began
        or was looked at."""
        return self.every > 0 and (last or step // self.every > before // self.every)
