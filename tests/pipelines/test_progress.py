from pipelines.progress import Meter, Throughput


def test_rates_are_of_the_whole_stage() -> None:
    work = Throughput(videos=30, errors=2, frames=900, bytes=10, seconds=60.0)
    assert (work.videos_per_s, work.frames_per_s) == (0.5, 15.0)
    assert (Throughput().videos_per_s, Throughput().frames_per_s) == (0.0, 0.0)


def test_a_meter_adds_up() -> None:
    meter = Meter()
    assert meter.now().videos == 0
    meter.add(videos=3, errors=["truncated"], frames=40, bytes=1000)
    meter.add(videos=1, errors=["empty", "truncated"], frames=0, bytes=0)
    work = meter.add(videos=2, errors=[], frames=8, bytes=24)
    assert (work.videos, work.errors, work.frames, work.bytes) == (6, 3, 48, 1024)
    assert work.kinds == {"truncated": 2, "empty": 1}
    assert 0 < work.seconds <= meter.now().seconds
