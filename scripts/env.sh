# Sourced by every script: installs the npm packages when they are missing and puts the repository's own Node 24 first.
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
machine_path=$PATH
export PATH="$root/node_modules/.bin:$PATH"

# Every script answers --help with the comment that it begins with, before it installs anything; one with own_help answers by itself.
for argument in "$@"; do
  case ${own_help:-}$argument in
  -h | --help)
    awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"
    exit 0
    ;;
  esac
done

# npm leaves its own copy of the lock file: it tells whether the installed packages are those of package-lock.json.
ensure_packages() {
  if [ ! -e "$root/node_modules/.package-lock.json" ] || [ "$root/package-lock.json" -nt "$root/node_modules/.package-lock.json" ]; then
    command -v npm >/dev/null || { echo "npm is needed: install Node.js (any version that has npm 10 or newer)" >&2; exit 69; }
    echo "installing npm packages (npm ci)" >&2
    (cd "$root" && npm ci --loglevel=error >&2)
    touch "$root/node_modules/.package-lock.json"
  fi
  node -e 'process.exit(+process.versions.node.split(".")[0] >= 24 ? 0 : 1)' 2>/dev/null || {
    echo "Node >= 24 is needed and is not in node_modules: run 'npm ci' (not with --omit=optional)" >&2
    exit 69
  }
}

# begin_fixtures [--demo | --full]: fetches the Debian packages of install-fixtures beside what the script does next. $fixtures is the
# descriptor that tells its exit code once it has ended. What comes with npm is not in its PATH: npm may just be replacing it.
begin_fixtures() {
  exec {fixtures}< <(
    code=0
    PATH=$machine_path "$root/scripts/install-fixtures" "$@" >&2 || code=$?
    echo "$code"
  )
  # A script that gives up leaves no apt-get behind.
  trap "wait $! || :" EXIT
}

await_fixtures() {
  local code
  read -r code <&"$fixtures"
  [ "$code" = 0 ] || exit "$code"
}

ensure_bundle() {
  local bundle="$root/dist/registry-trust.cjs"
  if [ ! -e "$bundle" ] || [ -n "$(find "$root/agent" "$root/scripts/build.ts" "$root/package.json" -newer "$bundle" -print -quit)" ]; then
    (cd "$root" && node scripts/build.ts dist >&2)
  fi
  # V8's code beside it, as in the image: a node of the tests sees this folder read-only, and npm installs it without.
  local code="$root/dist/registry-trust-program.cjs.code"
  if { [ ! -e "$code" ] || [ "$bundle" -nt "$code" ]; } && [ -w "$root/dist" ]; then
    (cd "$root" && node --random-seed=1 --initial-old-space-size=2000 scripts/code-cache.ts dist "$root/dist" >&2)
  fi
}
