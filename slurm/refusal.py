"""Slurm's messages when it refuses jobs, and their fixes."""

from __future__ import annotations

import re

from bench.core.escape import shell_path

LIMIT = r"\b(?:Assoc|QOS)(?:Max|Min|Grp)\w+"
"""The name of a limit of an account or a QOS, as in QOSMaxSubmitJobPerUserLimit."""
FULL = "submit limit|MaxSubmit|JobLimit|temporarily unable"
"""Words of a queue that takes no more jobs of this user for now."""
FIXES = {
    "configuration source|contact slurm|socket timed out|connection refused|zero bytes": "Slurm gives no answer; "
    "try again later, or see what SLURM_CONF names",
    FULL: "wait until jobs of yours have ended, or run with fewer seeds or methods",
    "wckey|workload": "sacctmgr show wckeys user=$USER lists your keys; set wckey under [sbatch] in the profile",
    "reservation": "scontrol show reservation lists them; set reservation under [sbatch] in the profile",
    "partition": "sinfo lists the partitions; set partition in the profile",
    "account": "sacctmgr show associations user=$USER lists your accounts; set account in the profile",
    "qos": "sacctmgr show qos lists them; set qos in the profile",
    "unrecognized option|invalid option|unknown option|ambiguous|invalid argument": "sbatch --help lists the "
    "flags; correct [sbatch] in the profile",
    "licen[sc]e": "scontrol show licenses lists them; set licenses under [sbatch] in the profile",
    "node name|nodelist": "sinfo -N lists the nodes; set nodelist or exclude under [sbatch] in the profile",
    "feature|constraint": "sinfo -o %f lists what nodes offer; set constraint in the profile",
    "configuration|node count|gres": "no node has that much; sinfo -o '%P %c %m %G' lists what they have; lower "
    "gpus_per_node, cpus_per_node or memory_gb_per_node in the profile",
    "time": "set max_hours in the profile to what the partition allows (sinfo -o '%P %l')",
}
"""Fixes by words in the refusal; the first match applies."""


def is_full(text: str) -> bool:
    """Say whether a refusal is that of a queue that takes no more jobs of this user for now.

    Of what would break any limit of an account, Slurm says the same; the limit's own name tells them apart.
    """
    limits = re.findall(LIMIT, text)
    return re.search(FULL, text, re.IGNORECASE) is not None and (
        not limits or any("Submit" in limit for limit in limits)
    )


def refusal(text: str, what: str, profile: str) -> str:
    """Return what sbatch said of some jobs, and what helps, in one line."""
    lines = [line for line in text.splitlines() if "error:" in line] or text.splitlines()[:1] or ["no reason"]
    said = lines[-1].strip()
    limits = ", ".join(dict.fromkeys(re.findall(LIMIT, text)))
    if limits and limits not in said:
        said = f"{said} ({limits})"
    if limits and not is_full(text):
        fix = "sacctmgr show qos, sacctmgr show associations user=$USER list limits; ask for less in the profile"
    else:
        fitting = (fix for words, fix in FIXES.items() if re.search(words, said, re.IGNORECASE))
        fix = next(fitting, f"bench slurm check --profile {shell_path(profile)} says what fits")
    return f"Slurm refused {what}, profile {profile}: {said}; fix: {fix}"
