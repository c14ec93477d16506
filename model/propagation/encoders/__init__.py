"""What compares frames: a colouriser, Lab colours, networks of other libraries, or two of them together.

Each encoder turns frames into base features once and context and target into keys and a query whose
dot product is the logit, as `model.propagation.engine.Encoder` asks. `torchvision_resnet` and
`timm_backbone` are imported by whoever wants them: a registered tracker needs neither library.
"""

from model.propagation.encoders.colorizer import ColorizerEncoder, luma
from model.propagation.encoders.joined import JoinedEncoder, Mix, join_lab
from model.propagation.encoders.lab import LAB_VARIANCE, LabEncoder

__all__ = [
    "LAB_VARIANCE",
    "ColorizerEncoder",
    "JoinedEncoder",
    "LabEncoder",
    "Mix",
    "join_lab",
    "luma",
]
