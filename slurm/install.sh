#!/bin/sh
# Install what a one-machine Slurm needs (examples/one_machine_slurm) from Debian or Ubuntu, and start no service.
# Where the commands are there already this does nothing.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing=
for command in munged slurmctld slurmd sbatch srun scontrol sinfo squeue scancel; do
    command -v "$command" >/dev/null || missing="$missing $command"
done
if [ -z "$missing" ]; then
    echo "slurm/install.sh: nothing to do, $(slurmctld -V) is installed"
    exit 0
fi

packages="munge slurm-client slurmctld slurmd"
if ! command -v apt-get >/dev/null; then
    echo "slurm/install.sh: these commands are missing:$missing" >&2
    echo "  This script knows only apt-get (Debian, Ubuntu); install Slurm and munge with your system's own packages." >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "slurm/install.sh: these commands are missing:$missing" >&2
    echo "  Installing needs root: sudo slurm/install.sh, or ask for the packages $packages." >&2
    exit 1
fi

# The packages would start their own daemons; Debian asks this file first, and 101 says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # several packages
apt-get install -y -qq --no-install-recommends $packages
echo "slurm/install.sh: installed $(slurmctld -V)"
