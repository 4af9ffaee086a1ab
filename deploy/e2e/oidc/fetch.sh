#!/usr/bin/env bash
# Fetches the OpenID provider that sign-in is tested against, pinned by the lock
# file, into .tools/oidc (below the root of the repository). Running it again is
# cheap. Needs Node 20 or newer with npm.
#
# Exit: 0 if it is there. If not: a loud line, and 1 where CI is set.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
to=$(cd "$here/../../.." && pwd)/.tools/oidc

lack() {
  printf '\noidc: ==== MISSING: %s ====\n\n' "$*" >&2
  [ -z "${CI:-}" ] || exit 1
  exit 0
}

command -v node >/dev/null && command -v npm >/dev/null || lack "node and npm"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || lack "Node 20 or newer"

mkdir -p "$to"
if [ -d "$to/node_modules/oidc-provider" ] && cmp -s "$here/package-lock.json" "$to/package-lock.json"; then
  echo "oidc: there"
  exit 0
fi
cp "$here/package.json" "$to/"
cp "$here/package-lock.json" "$to/package-lock.json.new"
mv "$to/package-lock.json.new" "$to/package-lock.json"
# No package's own scripts run: none of them needs to.
(cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || { rm -rf "$to/node_modules"; lack "the packages of package-lock.json"; }
echo "oidc: fetched"
