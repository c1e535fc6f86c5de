# Becomes systemd, as PID 1 of namespaces that the caller has made: mount, uts, ipc, net, pid.
# Arguments: TREE (files to lay over this machine's root), OUT (folder to find at /var/bed/out), TERMINAL (for /dev/console).
set -eu
tree=$1 out=$2 terminal=$3

mount --make-rprivate /

# A cgroup of its own, and then a namespace that begins there: another machine has units of the same names, and its systemd would take away
# the cgroups of ours. The caller removes it, by the name of OUT.
if [ -z "${in_own_cgroup:-}" ]; then
    mount -t cgroup2 cgroup2 /mnt
    own=/mnt$(sed -n 's/^0:://p' /proc/self/cgroup)/$(basename "$out")
    mkdir "$own"
    echo 0 > "$own/cgroup.procs"
    umount /mnt
    in_own_cgroup=yes exec unshare --cgroup -- bash "$0" "$@"
fi

# The mount point only has to exist and to stay out of the overlay's way; what is mounted on it is seen in this namespace alone.
stage=/mnt
mount -t tmpfs -o size=1g,mode=0755 stage "$stage"
mkdir "$stage/upper" "$stage/work" "$stage/root"
cp -a "$tree/." "$stage/upper/"
chown -R 0:0 "$stage/upper"
mount -t overlay -o "lowerdir=/,upperdir=$stage/upper,workdir=$stage/work" overlay "$stage/root"
root=$stage/root

# Of this machine's own services nothing shall start: the steps say what runs.
rm -rf "$root"/etc/systemd/system/*.wants "$root"/{usr/,}lib/systemd/system/*.target.wants "$root"/{usr/,}lib/systemd/system-generators
: > "$root/etc/fstab"

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"

mount -t tmpfs -o mode=0755 dev "$root/dev"
while read -r name minor; do
    mknod -m 0666 "$root/dev/$name" c 1 "$minor"
done <<NODES
null 3
zero 5
full 7
random 8
urandom 9
NODES
mknod -m 0666 "$root/dev/tty" c 5 0
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
# systemd opens /dev/console and wants a terminal behind it.
: > "$root/dev/console"
mount --bind "$terminal" "$root/dev/console"

mkdir -p "$root/var/bed/out"
mount --bind "$out" "$root/var/bed/out"

mkdir "$root/run/outside"
cd "$root"
pivot_root . run/outside
cd /
umount -l /run/outside
rmdir /run/outside
# systemd hands credentials to units through mounts that must propagate: without this their folder is silently empty.
mount --make-rshared /

exec env -i container=testbed PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=bed.target --log-target=console --log-level=info --show-status=no < /dev/console > /dev/console 2>&1
