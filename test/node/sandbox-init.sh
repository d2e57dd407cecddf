#!/usr/bin/env bash
# usage: sandbox-init.sh SCRATCH NAME PATH
# Process 1 of a sandbox node: gives it its own /etc, /run, /var/lib, /opt, certificates and cgroups over the machine's file system,
# then supervises containerd. Rule: whatever containerd or the agent writes lands in SCRATCH, never in the machine's own folders.
set -euo pipefail
. "${BASH_SOURCE[0]%/*}/cgroups.sh"
readonly scratch=$1 name=$2 path=$3
# the agent under test may be built from here, and tap keeps its folders in it
repository=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
readonly repository
export PATH=$path

# /proc is still the machine's here: it tells our pid as the machine sees it
read -r pid _ _ parent _ </proc/self/stat
cgroups_leave "$parent"
hierarchies=$(cgroup_hierarchies)
printf '%s' "$name" >/proc/sys/kernel/hostname
ip link set lo up

# a real folder instead of an overlay: renames, links and watches behave as on a node
mkdir -p "$scratch"/{etc/ssl,etc/containerd,etc/alternatives,usr-local-ca,containerd}
cd /etc
files=()
for file in passwd group ld.so.cache ld.so.conf ld.so.conf.d debian_version os-release services protocols localtime \
  ca-certificates.conf ca-certificates ssl/openssl.cnf ssl/certs; do
  [ ! -e "$file" ] || files+=("$file")
done
cp -a --parents "${files[@]}" "$scratch/etc"
# hundreds of links that nothing here changes
[ ! -d alternatives ] || mount --bind alternatives "$scratch/etc/alternatives"
cd /
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n' "$name" >"$scratch/etc/hosts"
# the one name server is the fixture's own: nothing leaves the node
printf 'nameserver 192.0.2.1\noptions timeout:2 attempts:1\n' >"$scratch/etc/resolv.conf"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$scratch/etc/nsswitch.conf"
printf '%s\n' "$name" >"$scratch/etc/hostname"
tr -d - </proc/sys/kernel/random/uuid >"$scratch/etc/machine-id"
cp -a /usr/local/share/ca-certificates/. "$scratch/usr-local-ca/"

# the machine's folder stays readable below: this repository may lie in it
overlay() {
  local layer=$scratch/overlay${1//\//-}
  mkdir -p "$layer"/{upper,work}
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$layer/upper,workdir=$layer/work" "$1"
}
overlay /var/lib
overlay /opt
rm -rf /var/lib/registry-trust /var/lib/containerd /var/lib/kubelet
# containerd's snapshots are overlays themselves and need a real file system below
mkdir /var/lib/containerd
mount --bind "$scratch/containerd" /var/lib/containerd
mount --bind "$scratch/usr-local-ca" /usr/local/share/ca-certificates
mount --rbind "$scratch/etc" /etc
mount -t tmpfs -o mode=755,size=256m tmpfs /run
# where the agent rehearses: nobody else's rehearsal is to be seen there
[ ! -d /dev/shm ] || mount -t tmpfs -o mode=1777,size=256m tmpfs /dev/shm
mount -t proc proc /proc
# a fresh sysfs shows this network namespace, and no security file system through which containerd could load AppArmor profiles
mount -t sysfs sysfs /sys
cgroups_mount '' "$hierarchies"
if [ -w /sys/fs/cgroup/cgroup.subtree_control ]; then
  # cgroup v2: controllers can be handed on only by a cgroup that holds no process itself
  mkdir -p /sys/fs/cgroup/init
  echo 1 >/sys/fs/cgroup/init/cgroup.procs
  for controller in $(</sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
  done
fi

# whatever is not the node's own is read-only from here: a mistake above must end in an error, not in the machine's files
for folder in /tmp /var/tmp "$repository" "$scratch"; do mount --bind "$folder" "$folder"; done
mount -o remount,bind,ro /

mkdir -p /run/lock /run/fixture
touch /run/fixture/hold /run/fixture/exits
mkfifo /run/fixture/never
exec 8<>/run/fixture/never
# sleeps without a process of its own
nap() { read -rt "$1" -u 8 _ || true; }

printf '%s\n' "$pid" >"$scratch/pid"
printf 'ready %s\n' "$pid"
exec >/dev/null 2>&1

while :; do
  while [ -e /run/fixture/hold ]; do nap 0.02; done
  # where a distribution tells containerd its places
  arguments=()
  [ ! -e /run/fixture/arguments ] || mapfile -t arguments </run/fixture/arguments
  env -i PATH="$path" HOME=/root containerd ${arguments[@]+"${arguments[@]}"} </dev/null >>"$scratch/containerd.log" 2>&1 8>&- &
  printf '%s\n' "$!" >/run/fixture/containerd.pid
  # a process that is not our child may end while we wait, hence the loop
  code=0
  wait "$!" || code=$?
  # first the exit, then the pid: who sees no pid must not take this exit for that of the next run
  printf '%s\n' "$code" >>/run/fixture/exits
  rm -f /run/fixture/containerd.pid
  nap 0.1
done
