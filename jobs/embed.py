"""`huetrack embed`."""

from typing import Annotated

from cyclopts import Parameter

from jobs.console import ProgressDisplay, print_facts
from jobs.film_options import FilmOptions, resolve
from pipelines.embedding_film import ClipEmbedder, write_embedding_film
from pipelines.shown_video import film_at


def embed_command(options: Annotated[FilmOptions, Parameter(name="*")]) -> int:
    """Show a video's embeddings as colours: a film of both side by side.

    The three principal components of the whole clip are red, green and blue, so what has like
    embeddings has like colours in all frames. The same seed gives the same film.

    Example: huetrack embed clip.mp4 --model runs/first --out embedded.mp4
    """
    filmed = resolve(options)
    embedder = ClipEmbedder(filmed.encoder, filmed.protocol, filmed.device)
    with film_at(options.out) as film, ProgressDisplay() as progress:
        made = write_embedding_film(filmed.video, embedder, film, options.seed, progress)
    print_facts(
        f"Embedded {options.video}",
        {
            "model": options.model,
            "protocol": filmed.protocol.name,
            "three components hold": f"{made.explained:.0%} of the variance",
            "film": options.out,
        },
    )
    return 0
