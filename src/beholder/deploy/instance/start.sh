# The second part of a start, in the bundle: user_data.sh reads it into its shell, with its functions and `set -e`.
# Says when the machine was launched and when its kernel began; what reads the stamps is fleet/startup.py.
at() { date -d "$1" +%s.%N; }
launched=$(imds dynamic/instance-identity/document -H "$header" | tr , '\n' | sed -n 's/.*"pendingTime" *: *"\([^"]*\)".*/\1/p')
[ -z "$launched" ] || echo "launched $(at "$launched")" >> $work/stamps
echo "kernel $(at "-$(cut -d ' ' -f 1 /proc/uptime) seconds")" >> $work/stamps

step="make the user"
id beholder > /dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin beholder
install -d -o beholder -g beholder -m 700 /var/lib/beholder
ln -sfn /opt/beholder/models /var/lib/beholder/models

# What takes the first minutes' CPU time, and may restart what runs. The packages are as new as the image is.
masked="apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service unattended-upgrades.service
  dpkg-db-backup.timer fwupd-refresh.timer man-db.timer motd-news.timer update-notifier-download.timer
  update-notifier-motd.timer snapd.service snapd.socket snapd.seeded.service"
if [ -d /run/systemd/system ]; then
  step="install the units"
  systemctl mask --quiet $masked || true
  systemctl stop --no-block $masked || true
  cp /opt/beholder/*.service /opt/beholder/*.path /etc/systemd/system/
  systemctl daemon-reload
fi

tell_steps() {
  step="tell the steps"
  awk '{ step[NR] = $1; at[NR] = $2; if ($1 == "launched") since = $2 }
    END { if (!since) since = at[1]
      for (i = 1; i <= NR; i++) printf "%s\"%s\": %.3f", (i > 1 ? ", " : "{"), step[i], at[i] - since
      print "}" }' $work/stamps > $work/steps.json
  aws s3 -T $work/steps.json "$(object "$BEHOLDER_OUTPUT_BUCKET" "fleet/startups/$instance.json")"
}

if [ "$BAKE" = yes ]; then
  step="bake the image"
  # Compiled once here, and not at every start. Some packages have files that are no Python.
  python3 -S -m compileall -qq -j 0 /opt/beholder/lib || true
  # Without them `beholder bake` makes no image: an instance that stops for another reason may not tell it.
  tell_steps
  trap - EXIT
  rm -rf /etc/beholder.env $work
  sync
  shutdown -h now
  exit 0
fi

# A web instance takes the Elastic IP once no other one has it: EC2 frees it when its instance ends, and deploy moves it
# after an image came through. Without the address nobody reaches it, so it ends if EC2 refuses, and its group launches
# another one.
take_address() {
  step="take the address"
  until aws ec2 --no-fail --fail-with-body -o $work/address "${AWS_ENDPOINT_URL:-https://ec2.$BEHOLDER_REGION.$domain}/?Action=AssociateAddress&AllocationId=$ELASTIC_IP&AllowReassociation=false&InstanceId=$instance&Version=2016-11-15"; do
    grep -q Resource.AlreadyAssociated $work/address ||
      fail "$(tr -d '\n' < $work/address | sed 's/.*<Code>\(.*\)<\/Code> *<Message>\(.*\)<\/Message>.*/\1: \2/')"
    sleep 5
    sign || true
  done
}

# A web instance that serves tells its steps, by which `beholder deploy` knows that it is ready. A worker tells its steps
# itself.
announce_web() {
  until curl -sf -o /dev/null -m 5 "http://127.0.0.1:${BEHOLDER_PORT:-8080}/readyz"; do sleep 0.5; done
  stamp ready
  tell_steps
  # It may wait for as long as another instance serves.
  [ -z "$ELASTIC_IP" ] || take_address &
}

echo "INSTANCE=$instance" > $work/instance
stamp started
chmod 644 $work/stamps
step="start the service"
declare -p instance domain > $work/functions
declare -f imds sign given aws object report fail >> $work/functions
if [ -d /run/systemd/system ]; then
  systemctl start --no-block beholder-leave.path
  # Returns once the service is ready. One that fails is started again by systemd, which ends the instance in time.
  systemctl start beholder || systemctl is-active --quiet beholder || [ "$(systemctl is-failed beholder)" != failed ]
  [ -z "$LOG_GROUP" ] || systemctl start --no-block beholder-logs
  [ "$ROLE" != web ] || announce_web
  trap - EXIT
  shutdown -c || true
  # Whatever else happens, a worker's machine is gone after a day.
  [ "$ROLE" = web ] || shutdown -h +1440
else
  # A machine without a service manager, such as a test's.
  [ "$ROLE" != web ] || announce_web || fail "$BASH_COMMAND" &
  failures=0
  until STARTUP_STAMPS=$work/stamps /opt/beholder/bin/beholder "$ROLE" --data-dir /var/lib/beholder; do
    status=$?
    failures=$((failures + 1))
    if [ "$status" -eq 2 ] || [ "$failures" -ge 10 ]; then fail "exit status $status"; fi
    sleep 5
  done
  trap - EXIT
  [ "$ROLE" = worker ] || shutdown -h now
fi
