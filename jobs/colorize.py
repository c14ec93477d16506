"""`huetrack colorize`."""

from typing import Annotated

from cyclopts import Parameter

from jobs.console import ProgressDisplay, print_facts
from jobs.film_options import FilmOptions, resolve
from model.propagation.colours import ColourPropagator
from pipelines.recolouring import recolour
from pipelines.shown_video import film_at


def colorize_command(options: Annotated[FilmOptions, Parameter(name="*")]) -> int:
    """Recolour a video from its first frame: a film of both side by side, over the colour error.

    The first frame's colours are carried through the video as labels are; the lightness is the video's
    own. Where the colours go wrong, labels do too. A model that sees colours (`lab`, `+lab`,
    `torchvision:`, `timm:`) is told part of the answer.

    Example: huetrack colorize clip.mp4 --model runs/first --out recoloured.mp4
    """
    filmed = resolve(options)
    propagator = ColourPropagator(filmed.encoder, filmed.protocol, filmed.device)
    with film_at(options.out) as film, ProgressDisplay() as progress:
        result = recolour(filmed.video, propagator, film, progress)
    print_facts(
        f"Recoloured {options.video}",
        {
            "model": options.model,
            "protocol": filmed.protocol.name,
            "frames": len(result.errors),
            "colour error": f"{result.mean_error:.2f} (mean ab distance in Lab units)",
            "first colours left in place": f"{result.mean_still_error:.2f}",
            "film": options.out,
        },
    )
    return 0
