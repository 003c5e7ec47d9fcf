#!/bin/sh
# install-packages.sh <policy> <lock> <package …>: installs packages of the distribution, one installation at a time, and starts nothing as a
# service. <policy> is the program that Debian asks before it starts a service (/usr/sbin/policy-rc.d). Ours says no for as long as the lock is
# held: by this script, and by apt-get if this script is killed. One that is left behind by SIGKILL forbids nothing, removes itself when it is
# asked, and is known by its second line.
set -e
policy=$1 lock=$2
shift 2
export DEBIAN_FRONTEND=noninteractive
mark='# platform-stack: while packages are installed'

mkdir -p "$(dirname "$lock")"
exec 9>"$lock"
flock 9

is_ours() { [ -f "$policy" ] && [ "$(sed -n 2p "$policy")" = "$mark" ]; }
release() { if is_ours; then rm -f "$policy"; fi; }
# The shell runs a trap when the program in hand has ended, so the guard stays for as long as apt-get works.
trap release EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 131' QUIT
trap 'exit 141' PIPE
trap 'exit 143' TERM

if [ ! -e "$policy" ] || is_ours; then
  draft="$policy.platform-stack"
  cat >"$draft" <<GUARD
#!/bin/sh
$mark
exec 8>'$lock'
if flock -n 8; then
  rm -f '$policy'
  exit 0
fi
exit 101
GUARD
  chmod 755 "$draft"
  mv "$draft" "$policy"
fi

install() { apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold install --no-install-recommends "$@"; }
update() {
  for attempt in 1 2 3 4 5; do
    apt-get -q update && return
    sleep 2 # another apt-get holds the lists
  done
  return 1
}
install "$@" || { update && install "$@"; }
