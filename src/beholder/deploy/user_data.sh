# What an instance runs once /etc/beholder.env is written: the last part of its user data.
set -a
. /etc/beholder.env
set +a
exec /opt/beholder/bin/beholder "$ROLE" --data-dir /var/lib/beholder
