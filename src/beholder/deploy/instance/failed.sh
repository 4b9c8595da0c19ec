# Runs as root whenever the service has ended. Wrong settings end the instance; whatever the reason of a failed start
# is, `beholder status` shows it. SERVICE_RESULT, EXIT_CODE and EXIT_STATUS are systemd's.
[ "$SERVICE_RESULT" != success ] || exit 0
work=/run/beholder-start
set -a
. /etc/beholder.env
set +a
. $work/functions
step="run the service"
journalctl -u beholder -n 40 -o cat > $work/log
if [ "$EXIT_CODE $EXIT_STATUS" = "exited 2" ]; then
  fail "its settings are wrong"
fi
report "$SERVICE_RESULT, $EXIT_CODE $EXIT_STATUS"
