#!/bin/sh
# unpack-packages.sh <folder> <suite> <program> <package>...: fetches packages of another suite of Debian, from the mirror that apt uses, checks
# their signatures and unpacks them into the folder, where the program then is. Nothing is installed.
set -e
folder=$1 suite=$2 program=$3
shift 3
exec 9>"$folder.lock"
flock 9
[ -x "$folder/$program" ] && exit 0
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
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $suite main" >"$work/sources.list"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/files"
apt_get() {
  apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$work/lists" \
    -o Dir::Cache="$work/cache" -o APT::Get::List-Cleanup=0 -o Acquire::Check-Valid-Until=false "$@"
}
apt_get update
cd "$work/files"
apt_get download "$@"
for package in *.deb; do dpkg-deb -x "$package" "$work/root"; done
loader=$(cd "$work/root" && ls usr/lib/*/ld-linux-*.so.? 2>/dev/null | head -n 1)
if [ -n "$loader" ]; then
  # It has the C library of its own suite: a script of the program's name starts it with that, wherever the folder lies.
  mv "$work/root/$program" "$work/root/$program.elf"
  cat >"$work/root/$program" <<END
#!/bin/sh
root=\${0%/$program}
exec "\$root/$loader" --library-path "\$root/${loader%/*}" "\$0.elf" "\$@"
END
  chmod 755 "$work/root/$program"
fi
rm -rf "$folder"
mv "$work/root" "$folder"
