#!/bin/sh
# Installs the tools that judge a running gate: slowhttptest, sslscan, testssl.sh (Debian packages). Does nothing
# where all are present.
set -eu
need=""
command -v slowhttptest >/dev/null || need="$need slowhttptest"
command -v sslscan >/dev/null || need="$need sslscan"
command -v testssl >/dev/null || need="$need testssl.sh"
command -v python3 >/dev/null || need="$need python3"
[ -n "$need" ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "These packages are needed, and installing them needs root:$need" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=900 update -q
# shellcheck disable=SC2086
apt-get -o DPkg::Lock::Timeout=900 install -y -q --no-install-recommends $need
