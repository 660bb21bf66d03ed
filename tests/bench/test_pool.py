"""What each job gets of the machine."""

from bench.pool import Share


def test_one_process_is_started_directly() -> None:
    assert Share().command()[1:] == ["-m", "bench"]


def test_several_are_started_by_torchrun() -> None:
    command = Share(processes=3).command()
    assert command[1:3] == ["-m", "torch.distributed.run"]
    assert command[command.index("--nproc-per-node") + 1] == "3"


def test_jobs_side_by_side_have_gpus_of_their_own() -> None:
    share = Share(processes=2, gpus=4)
    seen = [share.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1, 2)]
    assert seen == ["0,1", "2,3", "0,1"]


def test_a_job_that_needs_all_gpus_sees_them_as_they_are() -> None:
    assert "CUDA_VISIBLE_DEVICES" not in Share(processes=4, gpus=4).environment(0)
    assert Share(threads=2).environment(0) == {"OMP_NUM_THREADS": "2"}
