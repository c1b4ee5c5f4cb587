#!/bin/sh
# Installs the peers that the bench compares with, without starting any daemon.
set -eu
need=""
command -v wrk >/dev/null || need="$need wrk"
command -v nginx >/dev/null || need="$need nginx-light"
command -v haproxy >/dev/null || need="$need haproxy"
command -v caddy >/dev/null || need="$need caddy"
command -v h2load >/dev/null || need="$need nghttp2-client"
command -v strace >/dev/null || need="$need strace"
command -v openssl >/dev/null || need="$need openssl"
/usr/bin/python3 -c 'import jwt, cryptography' 2>/dev/null || need="$need python3 python3-jwt python3-cryptography"
command -v redis-server >/dev/null || need="$need redis-server"
command -v python3 >/dev/null || need="$need python3"
command -v taskset >/dev/null || need="$need util-linux"
[ -n "$need" ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "The bench needs these packages, and installing them needs root:$need" >&2
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
