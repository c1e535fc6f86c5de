# Runs the files that are named on the FIFO $1, one after the other, as one shell: what one sets, the next one has.
set -eu
exec 2>&1
exec 3< "$1"
trap 'echo "@@ the shell ended: $?"' EXIT
cd
while read -r block <&3; do
    . "$block" < /dev/null
    echo "@@ done: $block"
done
