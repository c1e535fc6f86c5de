# Runs every file of /var/bed/steps in order, keeps what it printed and how it ended, and ends the machine.
cd /var/bed/steps || exit 1
for step in *; do
    begun=${EPOCHREALTIME//[!0-9]/}
    bash "./$step" > "/var/bed/out/step-$step.output" 2>&1 < /dev/null
    code=$?
    echo "$code $((${EPOCHREALTIME//[!0-9]/} - begun))" > "/var/bed/out/step-$step.status"
done
systemctl exit 0 || systemctl poweroff -ff
