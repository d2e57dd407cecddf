# Sourced by the scripts of the fixture nodes: one cgroup of their own in each hierarchy of the machine, v1, hybrid or v2.
# Rule: everything lives below <hierarchy>/NAME, so that removing that one name removes all of it, containers included.

# prints "TYPE MOUNT-POINT OPTIONS" for each hierarchy
cgroup_hierarchies() {
  local device point type options rest
  while read -r device point type options rest; do
    case $type:$point in
    cgroup:/sys/fs/cgroup/* | cgroup2:/sys/fs/cgroup | cgroup2:/sys/fs/cgroup/*) printf '%s %s %s\n' "$type" "$point" "$options" ;;
    esac
  done </proc/self/mounts
}

# puts process PID into the cgroup NAME of each hierarchy
cgroups_enter() {
  local cgroup=$1 pid=$2 type point options file
  while read -r type point options; do
    mkdir -p "$point/$cgroup"
    # a new v1 cpuset is empty and takes no process until it is told what its parent has
    for file in cpuset.cpus cpuset.mems; do
      if [ "$type" = cgroup ] && [ -e "$point/$file" ]; then cat "$point/$file" >"$point/$cgroup/$file"; fi
    done
    if [ -e "$point/$cgroup/cgroup.clone_children" ]; then echo 1 >"$point/$cgroup/cgroup.clone_children"; fi
    echo "$pid" >"$point/$cgroup/cgroup.procs"
  done < <(cgroup_hierarchies)
}

# v2 alone: takes PID out again, because a cgroup that holds a process can't hand controllers on. To be called once the cgroup namespace
# is made, while the machine's own hierarchy is still in sight.
cgroups_leave() {
  [ ! -e /sys/fs/cgroup/cgroup.procs ] || echo "$1" >/sys/fs/cgroup/cgroup.procs 2>/dev/null || true
}

# mounts each hierarchy below PREFIX/sys/fs/cgroup, as seen from the cgroup namespace of the caller
cgroups_mount() {
  local prefix=$1 hierarchies=$2 type point options option controllers
  case $hierarchies in
  'cgroup2 /sys/fs/cgroup '*)
    mount -t cgroup2 cgroup "$prefix/sys/fs/cgroup"
    return
    ;;
  esac
  mount -t tmpfs -o mode=755,size=1m tmpfs "$prefix/sys/fs/cgroup"
  while read -r type point options; do
    mkdir -p "$prefix$point"
    if [ "$type" = cgroup2 ]; then
      mount -t cgroup2 cgroup "$prefix$point"
      continue
    fi
    controllers=
    for option in ${options//,/ }; do
      case $option in
      name=*) controllers=none,$option ;;
      rw | ro | nosuid | nodev | noexec | relatime | noatime | xattr | clone_children | cpuset_v2_mode | noprefix | release_agent=*) ;;
      *) controllers=${controllers:+$controllers,}$option ;;
      esac
    done
    mount -t cgroup -o "$controllers" cgroup "$prefix$point"
  done <<<"$hierarchies"
}

# removes the cgroup NAME of each hierarchy; the processes in it are dead, but the kernel may need a moment to agree
cgroups_remove() {
  local cgroup=$1 type point options attempt
  while read -r type point options; do
    for attempt in {1..200}; do
      [ -d "$point/$cgroup" ] || break
      find "$point/$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && break
      sleep 0.02
    done
  done < <(cgroup_hierarchies)
}
