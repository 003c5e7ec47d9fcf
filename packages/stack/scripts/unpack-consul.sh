#!/bin/sh
# unpack-consul.sh <folder>: Consul left Debian after bullseye; its package is fetched from there, by the mirror that apt uses, its signature is
# checked, and it is unpacked into the folder without being installed.
set -e
exec 9>"$1.lock"
flock 9
[ -x "$1/usr/bin/consul" ] && exit 0
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
chmod 755 "$work"
mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1; }
from=$(mirror)
[ -n "$from" ] || { apt-get -q update; from=$(mirror); }
[ -n "$from" ] || { echo 'apt knows no mirror of Debian'; exit 1; }
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from bullseye main" >"$work/sources.list"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/files"
apt_get() {
  apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$work/lists" \
    -o Dir::Cache="$work/cache" -o APT::Get::List-Cleanup=0 "$@"
}
apt_get update
cd "$work/files"
apt_get download consul
dpkg-deb -x consul_*.deb "$work/root"
rm -rf "$1"
mv "$work/root" "$1"
