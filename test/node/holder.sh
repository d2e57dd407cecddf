#!/usr/bin/env bash
# usage: holder.sh NAME SCRATCH INIT [ARGUMENT...]
# Holds one fixture node: makes its namespaces, runs INIT as their process 1, and takes everything away again when INIT ends or
# stdin closes. The kernel closes stdin when the test process dies in whatever way, so there is one road to clean-up and no other.
set -uo pipefail
. "${BASH_SOURCE[0]%/*}/cgroups.sh"
readonly name=$1 scratch=$2
shift 2

(
  set -e
  cgroups_enter "$name" "$BASHPID"
  # if this holder is killed with SIGKILL, the namespaces still go with it
  exec setpriv --pdeathsig KILL \
    unshare --mount --net --uts --ipc --pid --cgroup --propagation private --fork --kill-child bash "$@" </dev/null
) &
node=$!

exec 3<&0
cat <&3 >/dev/null &
reader=$!
wait -n "$node" "$reader"

# process 1 is reaped only after every process of its pid namespace is gone, so waiting for its parent waits for all
[ -s "$scratch/pid" ] && kill -KILL "$(<"$scratch/pid")" 2>/dev/null || kill -KILL "$node" 2>/dev/null
kill "$reader" 2>/dev/null
wait
cgroups_remove "$name"
rm -rf --one-file-system "$scratch"
