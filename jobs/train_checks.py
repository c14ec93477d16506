"""Whether a training with these options can work, before anything is started."""

from jobs.train_options import TrainOptions
from jobs.train_probe import check_probe
from model.errors import UserError
from pipelines.clip_rows import ClipDataset
from pipelines.codebook import load_codebook
from pipelines.models import read_colorizer
from pipelines.run_folder import CODEBOOK_FILE, INITIAL_WEIGHTS_FILE, weights_of


def check_options(options: TrainOptions, dataset: ClipDataset) -> None:
    """Raises `UserError` for what cannot work, before anything is started."""
    if options.workers < 1:
        raise UserError("--workers must be at least 1")
    if not 1 <= options.least_workers <= options.workers:
        raise UserError(f"--min-workers must lie in 1..{options.workers}, the number of --workers")
    if options.max_failures < 0:
        raise UserError("--max-failures must be at least 0")
    dataset.reduction(options.batches)
    check_probe(options.probe)
    if options.batches.batch_size < options.workers:
        raise UserError("batches.batch_size must be at least one clip a worker")
    if len(dataset.train) < options.batches.batch_size:
        raise UserError(
            f"{options.dataset}: {len(dataset.train)} training clips are fewer than one batch of "
            f"{options.batches.batch_size} (set --batches.batch-size)"
        )
    codebook = load_codebook(options.dataset / CODEBOOK_FILE)
    if codebook.fingerprint != dataset.codebook_fingerprint:
        raise UserError(
            f"{options.dataset}: its shards were made with codebook "
            f"{dataset.codebook_fingerprint}, codebook.json is {codebook.fingerprint}"
        )


def check_init(options: TrainOptions) -> bytes | None:
    """The file of weights to begin from; None where there is none, or a run that goes on has its copy.

    Raises `UserError` when it does not fit.
    """
    if options.init is None or (options.resume and (options.run / INITIAL_WEIGHTS_FILE).exists()):
        return None
    weights = weights_of(options.init)
    config = read_colorizer(weights).config
    if config != options.model:
        flags = " ".join(f"--model.{key.replace('_', '-')} {v}" for key, v in vars(config).items())
        raise UserError(f"--init {options.init}: its network has another shape (set {flags})")
    return weights.read_bytes()
