# What an instance runs once /etc/beholder.env is written: the last part of its user data.
# It fetches the bundle unless the image has it, and starts it. If anything fails, it sends the reason and powers off.
set -e -o pipefail
umask 022
work=/run/beholder-start
mkdir -p $work
stamp() { echo "$1 $(date +%s.%N)" >> $work/stamps; }
stamp user_data
exec > >(tee $work/log) 2>&1
set -a
. /etc/beholder.env
set +a
shutdown -h +15 || true  # whatever hangs; start.sh takes it back

imds() {
  curl -sSf --noproxy '*' -m 5 --retry 9 --retry-delay 1 --retry-all-errors "${@:2}" "http://169.254.169.254/latest/$1"
}
# A request that is signed with the instance's role. S3 wants a header that curl before 8 does not send.
aws() {
  local more=()
  [ "$1" != s3 ] || more=(-H 'x-amz-content-sha256: UNSIGNED-PAYLOAD')
  curl -sSf -m 300 --connect-timeout 5 --retry 4 --retry-all-errors -K $work/curl \
    --aws-sigv4 "aws:amz:$BEHOLDER_REGION:$1" "${more[@]}" "${@:2}"
}
object() {
  local at="https://$1.s3.$BEHOLDER_REGION.$domain"
  [ -z "$AWS_ENDPOINT_URL" ] || at="$AWS_ENDPOINT_URL/$1"
  echo "$at/$2"
}
report() {
  echo "beholder did not start: $step: $1"
  (echo "$step: $1"; tail -c 4000 $work/log) > $work/reason
  sign || true
  aws s3 -T $work/reason "$(object "$BEHOLDER_OUTPUT_BUCKET" "fleet/failed-starts/$instance")"
}
fail() {
  trap - EXIT
  set +e
  report "$1"
  shutdown -h now || poweroff -f
  exit 1
}
trap 'fail "$BASH_COMMAND"' EXIT

# The role's credentials end after six hours; a failure may come later.
sign() {
  token=$(imds api/token -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600')
  header="X-aws-ec2-metadata-token: $token"
  role=$(imds meta-data/iam/security-credentials/ -H "$header")
  given=$(imds "meta-data/iam/security-credentials/$role" -H "$header" | tr , '\n')
  (umask 077; echo "user = \"$(given AccessKeyId):$(given SecretAccessKey)\"
header = \"x-amz-security-token: $(given Token)\"" > $work/curl)
}
given() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" <<< "$given"; }

step="ask the instance metadata"
sign
instance=$(imds meta-data/instance-id -H "$header")
domain=$(imds meta-data/services/domain -H "$header")

if [ "$(cat /opt/beholder/SHA256 2> /dev/null || true)" != "$BUNDLE_SHA256" ]; then
  step="fetch the bundle"
  archive=/opt/beholder.tar.gz
  mkdir -p /opt/beholder.new
  aws s3 -o $archive "$(object "${BUNDLE%%/*}" "${BUNDLE#*/}")"
  stamp fetched
  step="verify the bundle"
  echo "$BUNDLE_SHA256  $archive" | sha256sum --quiet -c -
  step="unpack the bundle"
  tar -xzf $archive -C /opt/beholder.new
  rm -rf /opt/beholder $archive
  echo "$BUNDLE_SHA256" > /opt/beholder.new/SHA256
  mv -T /opt/beholder.new /opt/beholder
  stamp unpacked
fi
step="start the service"
. /opt/beholder/start.sh
