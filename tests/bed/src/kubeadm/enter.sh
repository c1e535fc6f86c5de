# Makes the machine of one node out of this one, and holds its namespaces open. $1: its folder, $2: its host name, then the addresses that
# the network of the cluster has on its loopback (for the first node only, the others share it).
set -eu
folder=$1
hostname=$2
shift 2

# The upper layer of an overlay must not lie on an overlay itself.
mount -t tmpfs tmpfs "$folder/layers"
for place in etc var/lib; do
    layer="$folder/layers/$place"
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay overlay -o "lowerdir=/$place,upperdir=$layer/upper,workdir=$layer/work" "/$place"
done
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /etc/kubernetes /etc/keywright /run/keywright /run/other /var/lib/keywright
mount --bind "$folder/kubernetes" /etc/kubernetes
mount --bind "$folder/keywright" /etc/keywright

echo "$hostname" > /proc/sys/kernel/hostname
if [ $# -gt 0 ]; then
    ip link set lo up
    for address; do ip address add "$address/32" dev lo; done
fi
echo ready
exec sleep infinity
