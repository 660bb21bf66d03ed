"""The command that repeats a record, or a run of this machine from its plan."""

from __future__ import annotations

import shlex
from typing import Any

from example_records import EXAMPLE, SAMPLER, changed

from bench.runs.record import Record
from bench.runs.repeat import command_of, command_of_plan

VALUES = {"lr": 1e-4, "prompt": "it's", "init_from": None, "gan": False}
SET = " --set lr=0.0001 --set 'prompt=\"it'\"'\"'s\"' --set init_from=null --set gan=false"


def record(base: Any = EXAMPLE, **values: Any) -> Record:
    """Return an example with other values, which are not checked for being true."""
    return Record.model_validate(changed(base, values))


def test_a_method_is_repeated_with_its_seed_recipe_protocol_and_plugin() -> None:
    method = EXAMPLE["method"] | {"name": "dmd2", "passed": VALUES}
    own = EXAMPLE["protocol"] | {"name": "digits"}
    one = record(method=method, task="digits", protocol=own, train_seed=3)
    assert command_of(one) == f"bench run --method dmd2 --task digits --seed 3{SET}"
    method |= {"passed": {}, "origin": "plug-in mine.py", "plugin_sha256": "ab"}
    other = record(method=method, task="digits", protocol=own | {"name": "digits-9k"}, train_seed=3)
    assert command_of(other) == (
        "bench run --method dmd2 --task digits --protocol digits-9k --seed 3 --plugin mine.py"
    )
    variant = record(
        method=method | {"origin": "plug-in my.toml", "plugin_sha256": ""}, task="digits", protocol=own
    )
    assert command_of(variant).endswith(" --plugin my.toml")


def test_a_sampler_is_repeated_under_its_protocol() -> None:
    one = record(SAMPLER, task="digits", protocol=SAMPLER["protocol"] | {"name": "digits-9k"})
    assert command_of(one) == "bench eval --task digits --protocol digits-9k --sampler teacher-ode"


def test_published_weights_are_repeated_by_the_recorded_command() -> None:
    argv = ["bench", "eval", "--task", "digits", "--weights", "student.pt"]
    weights = record(
        SAMPLER, **{"method.name": "student", "sampler": {"kind": "few-step"}, "provenance.argv": argv}
    )
    assert command_of(weights) == "bench eval --task digits --weights student.pt"


def test_a_plan_is_repeated_with_its_protocol_and_the_whole_path_of_its_plugin() -> None:
    plan = {"kind": "method", "name": "mine", "task": "digits", "seed": 1, "passed": VALUES}
    assert command_of_plan(plan) == f"bench run --method mine --task digits --seed 1{SET} --no-baselines"
    plan |= {"protocol": {"name": "digits-9k"}, "origin": "plug-in mine.py", "plugin_sha256": "ab", "passed": {}}
    plan |= {"job": {"plugins": {"/home/me/task.py": "12", "/home/me/my file.py": "ab"}, "cache": "/big/cache"}}
    files, cache = "--plugin /home/me/task.py --plugin '/home/me/my file.py'", "--cache /big/cache"
    where = "--task digits --protocol digits-9k"
    assert command_of_plan(plan) == (f"bench run --method mine {where} --seed 1 {files} --no-baselines {cache}")
    sampler = command_of_plan(plan | {"kind": "baseline", "name": "teacher-ode"})
    assert sampler == f"bench eval {where} --sampler teacher-ode {files} {cache}"
    assert command_of_plan({}) is None


def test_a_plan_is_repeated_with_the_options_of_its_job() -> None:
    job = {"data": "/my data", "download": True, "threads": 2, "keep": ["images"], "track": ["wandb"]}
    plan = {"kind": "method", "name": "mine", "task": "digits", "seed": 1, "job": job | {"validations": 0}}
    options = "--data '/my data' --download --threads 2 --keep images"
    assert command_of_plan(plan) == (
        f"bench run --method mine --task digits --seed 1 --no-baselines {options} --track wandb --validations 0"
    )
    sampler = command_of_plan(plan | {"kind": "baseline", "name": "teacher-ode"})
    assert sampler == f"bench eval --task digits --sampler teacher-ode {options}"


def test_what_no_job_did_is_repeated_by_its_command_line() -> None:
    argv = ["bench", "eval", "--plugin", "my file.py", "--task", "digits", "--sampler", "teacher-ode"]
    plan = {"kind": "baseline", "name": "teacher-ode", "task": "digits"}
    assert command_of_plan(plan | {"argv": argv}) == shlex.join(argv)
    own = "bench eval --task digits --sampler teacher-ode"  # not called by the command line
    assert command_of_plan(plan | {"argv": ["ipykernel_launcher.py", "-f", "x.json"]}) == own
