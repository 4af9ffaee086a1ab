#!/usr/bin/env bash
# Fetches what the oracles in this directory judge with: WorkOS's OpenAPI
# description and its Node client, pinned by package-lock.json with the integrity
# of every package, into
#
#   .tools/oracles/node_modules      (below the root of the repository)
#
# Running it again is cheap: what is there for this lock file is kept. It runs no
# package's scripts and writes nothing outside .tools.
#
# Exit: 0 if everything is there, 1 with a loud line if not.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
into=$(cd "$here/../../.." && pwd)/.tools/oracles
stamp=$into/installed

fail() { printf '\ntools: ==== MISSING: %s ====\n\n' "$*" >&2; exit 1; }

command -v node >/dev/null || fail "node: install Node.js 20 or later (package nodejs)"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || fail "node: $(node --version) is older than 20"

want=$(node --version; cat "$here/package.json" "$here/package-lock.json")
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
  echo "tools: oracles: already there"
  exit 0
fi
command -v npm >/dev/null || fail "npm: install it (package npm)"

echo "tools: oracles: fetching"
mkdir -p "$into"
rm -rf "$into/node_modules" "$stamp"
cp "$here/package.json" "$here/package-lock.json" "$into/"
(cd "$into" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || fail "npm ci did not succeed"
for file in @workos/openapi-spec/open-api-spec.yaml @workos-inc/node/package.json; do
  [ -f "$into/node_modules/$file" ] || fail "$file is not in what npm installed"
done
printf '%s\n' "$want" >"$stamp"
echo "tools: oracles: $into/node_modules"
