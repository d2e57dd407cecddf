# Sourced by install-fixtures: a Kubernetes API server for the tests. No package has one, but Debian packages the library that it is made of
# (k8s.io/apiserver), so test/cluster/apiserver is built on it, with Debian's Go, into the cache; etcd and kubectl come ready made.
# Nothing is installed: what is needed only for building goes again, about 2.5 GB.

# Debian's releases have a library of 2020; only this suite has the present one.
readonly api_server_suite=sid
readonly api_server_sources=$root/test/cluster/apiserver
# The types whose schemas the server knows: server-side apply goes by them, and kubectl validates with them.
readonly api_server_types=(
  k8s.io/api/{admissionregistration,core,apps,batch,coordination,rbac,networking,scheduling,autoscaling}/v1
  k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1
  k8s.io/apimachinery/pkg/{apis/meta/v1,runtime,api/resource,util/intstr,version}
)
# Large packages that others depend on for parts that are not built here. The build fails at once if one was needed after all.
readonly api_server_unused='aws-sdk|google-cloud-dev|google-api-dev|cloudflare-circl|klauspost-compress|pierrec-lz4|gonum|nxadm|mongo|x-image|x-tools|nats-io'

# A binary belongs to the sources that it was built from.
api_server_key() { cat "$api_server_sources"/*.go | sha256sum | cut -d ' ' -f 1; }

api_server_missing() {
  [ "$want_api_server" = yes ] && [ "$(cat "$cache/api-server/built-from" 2>/dev/null)" != "$(api_server_key)" ]
}

build_api_server() {
  local archive=$1 work=$scratch/api-server new=$scratch/api-server/new tree=$scratch/api-server/tree own packages version
  mkdir -p "$work"/{debs,lists/partial,cache/archives/partial,go/src/registry-trust/apiserver} "$new/bin" "$tree"
  printf 'deb [target=Packages arch=%s signed-by=%s] %s %s main\n' \
    "$(dpkg --print-architecture)" "$debian_keyring" "$archive" "$api_server_suite" >"$work/sources.list"
  # as on a machine that has nothing yet: what is installed here is not where the build looks
  : >"$work/status"
  own=(-o "Dir::State::Lists=$work/lists" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
    -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null)
  say "fetching Kubernetes' server library, Go, etcd and kubectl from $api_server_suite"
  quietly "${apt[@]}" "${own[@]}" --error-on=any update || return 1
  mapfile -t packages < <("${apt[@]}" "${own[@]}" install -y --no-install-recommends --print-uris golang-go golang-k8s-apiserver-dev \
    golang-k8s-apiextensions-apiserver-dev golang-k8s-component-helpers-dev kube-openapi etcd-server kubectl 2>>"$log" |
    sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p" | grep -E '^(golang-|kube-openapi$|etcd-server$|kubectl$)' | grep -vE "$api_server_unused")
  [ ${#packages[@]} -gt 20 ] || {
    say "$api_server_suite has no complete server library of Kubernetes now"
    return 1
  }
  (cd "$work/debs" && quietly "${apt[@]}" "${own[@]}" download "${packages[@]}") || return 1
  local deb
  for deb in "$work"/debs/*.deb; do quietly dpkg-deb -x "$deb" "$tree" || return 1; done
  # the library's 0.36.4 is Kubernetes' 1.36.4
  version=$(basename "$work"/debs/golang-k8s-apiserver-dev_*.deb | sed 's/^[^_]*_0\.\([0-9.]*\).*/v1.\1/')
  rm -rf "$work/debs" "$work/lists" "$work/cache"
  say "building the API server of Kubernetes $version (some minutes)"
  # Not optimised, and with less garbage collection in the compiler: that saves a quarter of the time, and the tests do not notice.
  cp "$api_server_sources"/*.go "$work/go/src/registry-trust/apiserver/"
  (
    cd "$work/go/src/registry-trust/apiserver"
    GOROOT=$(readlink -f "$tree/usr/lib/go")
    export GOROOT GOPATH=$work/go:$tree/usr/share/gocode GOCACHE=$work/go-cache GO111MODULE=off GOFLAGS='' GOTOOLCHAIN=local \
      CGO_ENABLED=0 GOGC=400 HOME=$work PATH=$GOROOT/bin:$PATH
    quietly "$tree/usr/bin/openapi-gen" --output-dir openapi --output-pkg registry-trust/apiserver/openapi --output-file openapi.go \
      --go-header-file /dev/null --report-filename /dev/null "${api_server_types[@]}" &&
      quietly go build -gcflags='all=-N -l' -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$version" -o "$new/bin/apiserver" .
  ) || return 1
  install -m 755 "$tree/usr/bin/etcd" "$tree/usr/bin/kubectl" "$new/bin/" || return 1
  # a newer suite may one day need a newer C library than this machine has
  quietly "$new/bin/etcd" --version && quietly "$new/bin/kubectl" version --client || return 1
  printf '%s\n' "$version" >"$new/version"
  api_server_key >"$new/built-from"
  rm -rf "${cache:?}/api-server"
  mv "$new" "$cache/api-server"
  rm -rf "$work"
}
