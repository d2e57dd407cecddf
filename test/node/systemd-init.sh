#!/usr/bin/env bash
# usage: systemd-init.sh SCRATCH NAME TREE GENERATION-BIN|- [BIND...]
# Process 1 of a systemd node, until it becomes systemd itself: an overlay on the shared tree, own /dev, /proc, /sys and cgroups, then
# pivot_root. Files named in SCRATCH/absent are removed, SCRATCH/extra is copied over the rest, and each BIND is a folder of the machine
# that shows at the same path inside.
# Rule: no mount of the machine is left inside, and no kernel setting that the machine shares can be changed from there.
set -euo pipefail
. "${BASH_SOURCE[0]%/*}/cgroups.sh"
readonly scratch=$1 name=$2 tree=$3 generation=$4
shift 4
readonly root=$scratch/root

read -r pid _ _ parent _ </proc/self/stat
cgroups_leave "$parent"
hierarchies=$(cgroup_hierarchies)
printf '%s' "$name" >/proc/sys/kernel/hostname
ip link set lo up

mkdir -p "$scratch"/{root,upper,work,containerd,kubelet}
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$scratch/upper,workdir=$scratch/work" "$root"
# containerd's snapshots are overlays themselves and need a real file system below
mkdir -p "$root"/var/lib/{containerd,kubelet}
mount --bind "$scratch/containerd" "$root/var/lib/containerd"
mount --bind "$scratch/kubelet" "$root/var/lib/kubelet"
mount -t tmpfs -o mode=755,size=256m tmpfs "$root/run"

printf '%s\n' "$name" >"$root/etc/hostname"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n' "$name" >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf"
printf 'nameserver 192.0.2.1\noptions timeout:2 attempts:1\n' >"$root/etc/resolv.conf"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
mkdir -p "$root/usr/local/share/ca-certificates"

# units that would touch the kernel we share, or are of no use here
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service \
  systemd-sysctl.service systemd-modules-load.service systemd-random-seed.service systemd-remount-fs.service \
  systemd-networkd-wait-online.service systemd-timesyncd.service systemd-logind.service console-getty.service getty.target \
  dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
  sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount apt-daily.timer apt-daily-upgrade.timer \
  dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-journald-audit.socket kmod-static-nodes.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
mkdir -p "$root/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultOOMPolicy=continue\nLogTarget=journal-or-kmsg\nShowStatus=no\n' >"$root/etc/systemd/system.conf.d/fixture.conf"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"

while read -r path; do rm -f "$root$path"; done <"$scratch/absent"
[ ! -d "$scratch/extra" ] || cp -a "$scratch/extra/." "$root/"
if [ "$generation" != - ]; then
  for program in containerd ctr containerd-shim-runc-v2; do mount --bind "$generation/$program" "$root/usr/bin/$program"; done
fi
for folder in "$@"; do
  mkdir -p "$root$folder"
  mount --bind "$folder" "$root$folder"
done

mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
cgroups_mount "$root" "$hierarchies"
mount -t tmpfs -o mode=755,size=4m tmpfs "$root/dev"
mkdir -p "$root"/dev/{pts,shm,net,mqueue}
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t mqueue mqueue "$root/dev/mqueue"
while read -r device mode major minor; do mknod -m "$mode" "$root/dev/$device" c "$major" "$minor"; done <<'DEVICES'
null 666 1 3
zero 666 1 5
full 666 1 7
random 666 1 8
urandom 666 1 9
tty 666 5 0
kmsg 600 1 3
DEVICES
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mount --rbind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
# settings of the network namespace are the node's own
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,rw "$root/proc/sys/net"

printf '%s\n' "$pid" >"$scratch/pid"
cd "$root"
mkdir -p mnt
pivot_root . mnt
printf 'ready %s\n' "$pid"
exec chroot . /usr/bin/env -i container=fixture PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  /bin/sh -c 'umount -l /mnt; exec /lib/systemd/systemd --unit=multi-user.target' </dev/null >/dev/null 2>&1
