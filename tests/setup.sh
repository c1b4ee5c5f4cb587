#!/bin/sh
# Installs the independent peers that the tests speak to. Does nothing where all are present.
#   python3-jwt, python3-cryptography   an independent JOSE implementation
#   strace                              to let a running gate's disk fail
#   util-linux                          setpriv (another user), mount (a disk that is soon full)
#   prometheus                          promtool, which lints a scrape
#   pebble                              a CA that speaks ACME, and names for it; a newer one beside it: tests/pebble.sh
#   file, libc-bin                      to see that the binary is static
#   nginx, apache2-bin, gunicorn        applications behind the gate that must read what was meant; no service is started
#   haproxy                             a proxy before the gate that speaks PROXY protocol
#   python3-grpcio                      an independent gRPC server and client
#   build-essential                     gcc for the crates that hold C
set -eu
need=""
command -v gcc >/dev/null || need="$need gcc libc6-dev"
command -v file >/dev/null || need="$need file"
command -v ldd >/dev/null || need="$need libc-bin"
command -v chroot >/dev/null || need="$need coreutils"
command -v strace >/dev/null || need="$need strace"
command -v setpriv >/dev/null || need="$need util-linux"
command -v mount >/dev/null || need="$need mount"
command -v promtool >/dev/null || need="$need prometheus"
command -v pebble >/dev/null || need="$need pebble"
command -v nginx >/dev/null || need="$need nginx-light"
command -v apache2 >/dev/null || need="$need apache2-bin"
command -v gunicorn >/dev/null || need="$need gunicorn"
command -v haproxy >/dev/null || need="$need haproxy"
command -v find >/dev/null || need="$need findutils"
/usr/bin/python3 -c 'import grpc' 2>/dev/null || need="$need python3 python3-grpcio"
/usr/bin/python3 -c 'import sqlite3, jwt, cryptography' 2>/dev/null || need="$need python3 python3-jwt python3-cryptography"
if [ -z "$need" ]; then
  exec sh "$(dirname "$0")/pebble.sh"
fi
if [ "$(id -u)" != 0 ]; then
  echo "The tests need these packages, and installing them needs root:$need" >&2
  exit 1
fi
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=900 update -q
# shellcheck disable=SC2086
apt-get -o DPkg::Lock::Timeout=900 install -y -q --no-install-recommends $need
sh "$(dirname "$0")/pebble.sh"
