"""J&F of the checkpoints of a training: does it rise with colour accuracy?

`python -m benchmarks.checkpoints RUN [--checkpoints FOLDER] [--protocol crw vidcolor] [--json FILE]`
carries the masks of annotated videos (the folder `eval` of HUETRACK_DATA, default ../shared/data; with
`--videos 'davis*'` those of such names) with every `checkpoint_STEP` in FOLDER (by default the run's own,
which are the last and the best) and adds the scores to the run's history, where `huetrack curves RUN`
finds them. `--set frame_size_px=240x424` changes the protocols, as of `huetrack propagate`. Steps that have a
score under the protocol are left out.
"""

import argparse
import fnmatch
import os
from pathlib import Path

import ray.train

from benchmarks.figures import show
from jobs.train_checkpoint import colorizer_of
from jobs.train_probe import add_scores, scored
from model.colorizer import ColorizerConfig
from model.propagation.protocols import PROTOCOLS, get_protocol
from pipelines.archive_plan import LabelSource, annotated_videos
from pipelines.run_folder import read_config, read_history

EVAL = Path(os.environ.get("HUETRACK_DATA", "../shared/data")) / "eval"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--sequences", type=Path, default=EVAL)
    parser.add_argument("--videos", default="*")
    parser.add_argument("--protocol", nargs="+", default=["crw"], choices=list(PROTOCOLS))
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    config = read_config(given.run)
    protocols = [get_protocol(name, given.settings) for name in given.protocol]
    network = ColorizerConfig(**config["model"])
    videos = annotated_videos(given.sequences, LabelSource(given.sequences))
    tasks = [t for t in videos if fnmatch.fnmatch(t.footage.video_id, given.videos)]
    known = {(r["step"], r["protocol"]) for r in read_history(given.run) if r["kind"] == "probe"}
    figures: dict[str, float] = {}
    for folder in sorted((given.checkpoints or given.run).glob("checkpoint_*/")):
        colorizer, step = colorizer_of(ray.train.Checkpoint.from_directory(folder), network)
        for protocol in protocols:
            if (step, protocol.name) not in known:
                record, _ = scored(colorizer, step, tasks, given.sequences, protocol)
                add_scores(given.run, [record])
                figures[f"step {step}, {protocol.name}"] = record["jf_mean"]
                print(f"step {step}, {protocol.name}: {record['jf_mean']:.4f}", flush=True)
    show(f"J&F of {len(tasks)} videos", figures, given.json)


if __name__ == "__main__":
    main()
