#!/bin/sh
# Brings a Pebble of Debian's newest suites, which can be told when a certificate is to be renewed (renewal information,
# RFC 9773; Debian 12's cannot), into target/peers/pebble, unpacked and not installed. By apt, from the archive that this
# machine uses, with its signature checked, in a state of apt's of its own. A newer suite moves on, so this may fail: then
# the one test that wants it says so, and the others are none the worse.
set -u
cd "$(dirname "$0")/.." || exit 1
into=$PWD/target/peers/pebble
[ -x "$into/usr/bin/pebble" ] && [ -x "$into/usr/bin/pebble-challtestsrv" ] && exit 0
without() {
  echo "No newer Pebble ($1): the test of renewal information against a real CA will be passed over." >&2
  exit 0
}
archive=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -v security | head -n 1)
[ -n "$archive" ] || without "apt knows no archive"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keys" ] || without "no $keys"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/state"
: >"$work/status"
cat >"$work/apt.conf" <<A
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$work/state";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Acquire::Languages "none";
Acquire::http::Timeout "20";
Acquire::Retries "1";
A
for suite in forky sid; do
  echo "deb [signed-by=$keys] $archive $suite main" >"$work/sources.list"
  apt-get -c "$work/apt.conf" update -q >"$work/log" 2>&1 || continue
  (cd "$work" && apt-get -c "$work/apt.conf" download -q pebble >>"$work/log" 2>&1) || continue
  rm -rf "$work/new" && dpkg-deb -x "$work"/pebble_*.deb "$work/new" || continue
  # Its libraries may be newer than this machine's.
  if "$work/new/usr/bin/pebble" -version >/dev/null 2>&1 && grep -aq set-renewal-info "$work/new/usr/bin/pebble"; then
    mkdir -p "$(dirname "$into")" && rm -rf "$into" && cp -r "$work/new" "$into" || exit 1
    echo "Pebble of Debian $suite in $into: $(basename "$work"/pebble_*.deb)"
    exit 0
  fi
  rm -f "$work"/pebble_*.deb
done
without "see the last of apt's words: $(tail -n 1 "$work/log")"
