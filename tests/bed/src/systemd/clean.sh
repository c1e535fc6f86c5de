# Removes the cgroup that boot.sh made, and those that systemd made below it. Runs in a mount namespace of its own. Argument: OUT of boot.sh.
set -eu
mount --make-rprivate /
mount -t cgroup2 cgroup2 /mnt
own=/mnt$(sed -n 's/^0:://p' /proc/self/cgroup)/$(basename "$1")
find "$own" -depth -type d -exec rmdir {} +
