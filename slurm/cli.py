"""`bench slurm`: the profiles there are, and whether a cluster has what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import DryRunOption, RunsOption
from bench.cli.terminal import print
from bench.core.errors import UserError, counted

app = typer.Typer(help="Profiles of clusters, and what submissions leave behind.", no_args_is_help=True)


@app.command("profiles")
def profiles() -> None:
    """List the profiles, and the files they are in; what is wrong with one does not hide the others."""
    from slurm.profile import folders, load_profile, profile_names

    for name, path in profile_names().items():
        try:
            load_profile(str(path))
            print(f"{name:<24}{path}")
        except UserError as error:
            print(f"{name:<24}[broken] {error}")
    print(f"\nYour own go into {folders()[0]}")


@app.command("check")
def check(
    profile: Annotated[str, typer.Option("--profile", help="A profile, by name or file.")],
    task: Annotated[str, typer.Option("--task", help="A task whose runs are to fit.")] = "digits",
) -> None:
    """Ask the cluster whether jobs of a profile will fit; exit code 2 says what will not, and what helps.

    What its nodes have is looked up first; then sbatch tests the very scripts that would be submitted.
    """
    from bench.runs.registry import load_catalogue
    from slurm.check import STAGES, node_kinds, problems, refusals
    from slurm.profile import load_profile

    chosen = load_profile(profile)
    declared = load_catalogue([]).tasks.get(task)
    asked = {stage: chosen.share(declared.name, declared.scale, stage) for stage in STAGES}
    kinds = node_kinds()
    for stage, share in asked.items():
        nodes, each = counted(share.nodes, "node"), " each" * (share.nodes > 1)
        parts = f"{counted(share.gpus, 'GPU')}, {counted(share.cpus, 'CPU')} and {share.memory_gb:g} GB"
        print(f"{stage:<10}{nodes} of {parts}{each}, for {counted(share.hours, 'hour')}")
    found = problems(chosen, asked, kinds) or refusals(profile, chosen, asked, declared.name)
    if found:
        raise UserError(f"profile {profile!r} does not fit this cluster:\n  " + "\n  ".join(found))
    print(f"profile {profile!r} fits: jobs of {task} would start")


@app.command("clean")
def clean_(dry_run: DryRunOption = False, runs: RunsOption = Path("runs")) -> None:
    """Remove the job folders of submissions that are all done, and frozen code that nothing runs any more."""
    from bench.core.files import human_size
    from slurm.clean import clean, leftovers, total

    found = leftovers(runs) if dry_run else clean(runs)
    for one in found:
        print(f"{human_size(one.bytes):>10}  {one.what}: {one.folder}")
    done = "would be removed" if dry_run else "removed"
    print(f"{human_size(total(found))} {done}" if found else "nothing to remove")
