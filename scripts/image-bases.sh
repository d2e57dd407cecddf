# Sourced by scripts/image: what an image starts from, and what the program is built in, made of this machine's own packages where no image is
# named. Sets nothing; uses $work, $architecture, $base_packages, give_up and buildah of its caller.

own_architecture() { dpkg --print-architecture; }

# commit_folder FOLDER NAME ARCHITECTURE [option of buildah config...]: an image that is this folder and nothing else
commit_folder() {
  local container folder=$1 name=$2 wanted=$3
  shift 3
  container=$(buildah from scratch)
  buildah copy --quiet "$container" "$folder" / >/dev/null
  buildah config --arch "$wanted" "$@" "$container"
  buildah commit --quiet --timestamp 0 --rm "$container" "$name" >/dev/null
}

# download_debs ARCHITECTURE PACKAGE...: into the current folder; another architecture's from the archive that this machine uses
download_debs() {
  local wanted=$1 apt=(apt-get -q -o APT::Sandbox::User=root) state=$work/apt
  shift
  if [ "$wanted" != "$(own_architecture)" ]; then
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed=''
    [ ! -r "$keyring" ] || signed=" signed-by=$keyring"
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    apt-get indextargets --format "deb [target=Packages arch=$wanted$signed] \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
      'Created-By: Packages' 'Origin: Debian' >"$state/sources.list"
    [ -s "$state/sources.list" ] || give_up "the apt sources of this machine name no Debian archive with $wanted: name an image with --base"
    apt+=(-o "APT::Architecture=$wanted" -o "APT::Architectures=$wanted" -o Dir::State::Status=/dev/null -o "Dir::State::Lists=$state/lists"
      -o "Dir::Cache=$state/cache" -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Acquire::Languages=none)
    "${apt[@]}" --error-on=any update >&2
  fi
  "${apt[@]}" download "$@" >&2
}

# unpack_c_library ARCHITECTURE FOLDER
unpack_c_library() {
  [ -n "$base_packages" ] || type -P apt-get >/dev/null || give_up 'without apt-get name an image with --base'
  local package debs=${base_packages:-$work/debs-$1}
  mkdir -p "$debs" "$2"
  [ -n "$base_packages" ] || (cd "$debs" && download_debs "$1" libc6 libgcc-s1 libstdc++6)
  for package in "$debs"/*.deb; do dpkg-deb -x "$package" "$2"; done
  # what no program of ours reads
  rm -rf "$2"/usr/share/{gcc,gdb,lintian,locale} "$2"/usr/lib/*/{gconv,audit}
  mkdir -p -m 1777 "$2/tmp"
}

debian_base() {
  unpack_c_library "$architecture" "$work/base"
  commit_folder "$work/base" localhost/base:debian "$architecture"
}

# Node and npm as this machine has them, the registry that npm asks and the CAs that are trusted here, and a busybox for all else.
build_base() {
  local folder=$work/build-base certificates=etc/ssl/certs/ca-certificates.crt npm busybox
  npm=$(dirname -- "$(dirname -- "$(readlink -f -- "$(type -P npm)")")")
  busybox=$(type -P busybox || find "${REGISTRY_TRUST_CACHE:-/var/cache/registry-trust-fixtures}/tools/busybox-static" -type f -path '*bin/busybox' -print -quit)
  [ -n "$busybox" ] || give_up 'busybox is needed for --build-base local: apt-get install busybox-static'
  unpack_c_library "$(own_architecture)" "$folder"
  mkdir -p "$folder"/{bin,root,etc/ssl/certs,usr/bin,usr/etc,usr/lib/node_modules}
  cp "$busybox" "$folder/bin/busybox"
  for applet in $("$busybox" --list); do [ -e "$folder/bin/$applet" ] || ln -s busybox "$folder/bin/$applet"; done
  ln -s /bin/env "$folder/usr/bin/env"
  cp "$(node -p process.execPath)" "$folder/usr/bin/node"
  cp -r "$npm" "$folder/usr/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$folder/usr/bin/npm"
  printf 'registry=%s\n' "$(npm config get registry 2>/dev/null)" >"$folder/usr/etc/npmrc"
  # only added to what Node brings; where the machine has none it is empty
  cat "/$certificates" >"$folder/$certificates" 2>/dev/null || true
  commit_folder "$folder" localhost/build-base:local "$(own_architecture)" --env "NODE_EXTRA_CA_CERTS=/$certificates"
}
